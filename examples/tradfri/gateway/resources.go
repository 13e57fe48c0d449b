package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/examples/tradfri/ipso"
	"github.com/coapkit/coap/transport/dtls"
)

// maxAge is how long a client may take what it has for current. The gateway notifies of changes, so it is long.
const maxAge = 7 * 24 * time.Hour

// Handler returns the resources of the gateway, to be served over DTLS with keys from [Gateway.Key]. notify is told the
// paths of resources that have changed, as [coap.Server.Notify] wants it; it may be nil. To be called
// again if the gateway is to be served anew, and not concurrently with anything else.
func (g *Gateway) Handler(notify func(path string)) *coap.Mux {
	if notify != nil {
		g.notify = notify
	}
	mux := coap.NewMux()
	mux.Use(g.authorize)
	observable := coap.Route{Observable: true, Formats: []coap.ContentFormat{coap.JSON}}
	mux.HandleFunc("GET "+ipso.Devices, g.list(g.deviceIDs), observable)
	mux.HandleFunc("GET "+ipso.Devices+"/{id}", g.show(g.deviceObject), observable)
	mux.HandleFunc("PUT "+ipso.Devices+"/{id}", g.putDevice)
	mux.HandleFunc("GET "+ipso.Groups, g.list(g.groupIDs), observable)
	mux.HandleFunc("GET "+ipso.Groups+"/{id}", g.show(g.groupObject), observable)
	mux.HandleFunc("PUT "+ipso.Groups+"/{id}", g.putGroup)
	mux.HandleFunc("GET "+ipso.About, func(w *coap.Response, _ *coap.Request) error {
		return answer(w, ipso.Info{ID: "7e2325520440000c", Firmware: firmware, Time: time.Now().Unix()})
	})
	mux.HandleFunc("POST "+ipso.Pairing, g.postPairing)
	return mux
}

func devicePath(id int) string { return ipso.Devices + "/" + strconv.Itoa(id) }

func groupPath(id int) string { return ipso.Groups + "/" + strconv.Itoa(id) }

// authorize lets who has the security code pair, and who has paired do everything else.
func (g *Gateway) authorize(next coap.Handler) coap.Handler {
	return coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
		who, _ := dtls.IdentityOf(r.Peer())
		pairs := r.Path() == ipso.Pairing
		switch {
		case who.PSK == ipso.PairingIdentity && pairs:
		case who.PSK != "" && !pairs && g.use(who.PSK):
		default:
			return &coap.Error{Code: coap.Unauthorized}
		}
		return next.ServeCoAP(w, r)
	})
}

func (g *Gateway) postPairing(w *coap.Response, r *coap.Request) error {
	var p ipso.Pair
	if err := read(r, &p); err != nil {
		return err
	}
	key, err := g.pair(p.Identity)
	if err != nil {
		return &coap.Error{Code: coap.BadRequest} // without a reason, as the real one
	}
	w.Code = coap.Created
	return answer(w, ipso.Paired{Key: key, Firmware: firmware})
}

// list answers with numbers.
func (g *Gateway) list(ids func() []int) coap.HandlerFunc {
	return func(w *coap.Response, _ *coap.Request) error {
		w.SetMaxAge(maxAge)
		return answer(w, ids())
	}
}

func (g *Gateway) deviceIDs() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	ids := make([]int, len(g.devices))
	for i, d := range g.devices {
		ids[i] = d.ID
	}
	return ids
}

func (g *Gateway) groupIDs() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	ids := make([]int, len(g.groups))
	for i, group := range g.groups {
		ids[i] = group.ID
	}
	return ids
}

// show answers with the object that has the number in the path.
func (g *Gateway) show(object func(id int) any) coap.HandlerFunc {
	return func(w *coap.Response, r *coap.Request) error {
		o := object(number(r))
		if o == nil {
			return &coap.Error{Code: coap.NotFound}
		}
		w.SetMaxAge(maxAge)
		return answer(w, o)
	}
}

func (g *Gateway) deviceObject(id int) any {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.device(id)
	if d == nil {
		return nil
	}
	o := d.Device
	o.Lights = append([]ipso.Light(nil), o.Lights...) // they change; what their states point to does not
	return o
}

func (g *Gateway) groupObject(id int) any {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := id - firstGroup; i >= 0 && i < len(g.groups) {
		return *g.groups[i]
	}
	return nil
}

func (g *Gateway) putDevice(w *coap.Response, r *coap.Request) error {
	var change ipso.DeviceChange
	if err := read(r, &change); err != nil {
		return err
	}
	changed, err := g.changeDevice(number(r), &change)
	return g.changed(w, changed, err)
}

func (g *Gateway) putGroup(w *coap.Response, r *coap.Request) error {
	var change ipso.GroupChange
	if err := read(r, &change); err != nil {
		return err
	}
	changed, err := g.changeGroup(number(r), &change)
	return g.changed(w, changed, err)
}

// changed answers a PUT, and tells observers of these paths.
func (g *Gateway) changed(w *coap.Response, paths []string, err error) error {
	if err != nil {
		return err
	}
	w.Code = coap.Changed
	for _, path := range paths {
		g.notify(path)
	}
	return nil
}

// changeDevice changes a device and returns the paths of what has changed for observers.
func (g *Gateway) changeDevice(id int, change *ipso.DeviceChange) (changed []string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.device(id)
	if d == nil {
		return nil, &coap.Error{Code: coap.NotFound}
	}
	lights := change.Lights
	if change.Name == "" && len(lights) == 0 || len(change.Name) > maxName || len(lights) > 1 || len(lights) == 1 && !isPossible(&lights[0]) {
		return nil, &coap.Error{Code: coap.BadRequest}
	}
	if len(lights) == 1 && g.command(d, &lights[0]) || change.Name != "" {
		changed = append(changed, devicePath(id))
	}
	if change.Name != "" {
		d.Name = change.Name
	}
	return changed, nil
}

// changeGroup has the members of a group do something and returns the paths of what has changed for observers.
func (g *Gateway) changeGroup(id int, change *ipso.GroupChange) (changed []string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := id - firstGroup
	if i < 0 || i >= len(g.groups) {
		return nil, &coap.Error{Code: coap.NotFound}
	}
	group := g.groups[i]
	does := change.Change != ipso.Change{}
	if !does && change.Name == "" || does && !isPossible(&change.Change) || len(change.Name) > maxName {
		return nil, &coap.Error{Code: coap.BadRequest}
	}
	if does {
		group.State = apply(group.State, &change.Change)
		for _, member := range group.Members.Link.IDs {
			if d := g.device(member); d != nil && g.command(d, &change.Change) {
				changed = append(changed, devicePath(member))
			}
		}
	}
	if change.Name != "" {
		group.Name = change.Name
		changed = append(changed, groupPath(id))
	}
	return changed, nil
}

// number returns the number in the path, -1 if there is none.
func number(r *coap.Request) int {
	n, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return -1
	}
	return n
}

// read reads the body of a request, which has nothing that is not known.
func read(r *coap.Request, v any) error {
	d := json.NewDecoder(bytes.NewReader(r.Payload))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &coap.Error{Code: coap.BadRequest}
	}
	return nil
}

// answer answers with an object.
func answer(w *coap.Response, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return w.JSON(text)
}
