package message_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/coapkit/coap/message"
)

func ExampleOptions() {
	var o message.Options
	o.AddString(message.OptionURIPath, "sensors")
	o.AddString(message.OptionURIPath, "temperature")
	o.SetAccept(message.JSON)
	o.AddString(message.OptionURIHost, "example.com") // out of order is fine

	for n, v := range o.All() {
		fmt.Printf("%v %q\n", n, v)
	}
	// Output:
	// Uri-Host "example.com"
	// Uri-Path "sensors"
	// Uri-Path "temperature"
	// Accept "2"
}

func ExampleOptions_Decode() {
	var o message.Options
	payload, err := o.Decode([]byte("\xb4temp\xff22.3 C"))
	path, _ := o.First(message.OptionURIPath)
	fmt.Printf("%s %s %v\n", path, payload, err)

	_, err = o.Decode([]byte{0xf0})
	fmt.Println(err)
	// Output:
	// temp 22.3 C <nil>
	// malformed message: option delta 15 is reserved
}

func ExampleOptions_SetTarget() {
	var o message.Options
	if err := o.SetTarget("/sensors/living%20room?unit=C"); err != nil {
		fmt.Println(err)
	}
	unit, _ := o.QueryValue("unit")
	fmt.Println(o.Path(), unit)
	fmt.Println(o.SetTarget("/a b"))
	// Output:
	// /sensors/living%20room C
	// message: "/a b": in the path " " has to be percent-encoded, write %20
}

func ExampleOptions_SetMaxAge() {
	var o message.Options
	fmt.Println(o.MaxAge())
	o.SetMaxAge(time.Hour)
	fmt.Println(o.MaxAge())
	// Output:
	// 1m0s
	// 1h0m0s
}

func ExampleParseURI() {
	u, err := message.ParseURI("coap://EXAMPLE.com:5683/%7Esensors/temp.xml?unit=C")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(u.Host, u.Port, u.Path, u.Query)
	fmt.Println(u)

	var o message.Options
	if err := u.SetOptions(&o, netip.MustParseAddrPort("192.0.2.1:5683")); err != nil {
		fmt.Println(err)
	}
	fmt.Println(o.Len(), "options")

	_, err = message.ParseURI("example.com:5683/temp")
	fmt.Println(err)
	// Output:
	// example.com 5683 [~sensors temp.xml] [unit=C]
	// coap://example.com/~sensors/temp.xml?unit=C
	// 4 options
	// message: "example.com:5683/temp": the scheme is missing, write coap://example.com:5683/temp
}

func ExampleComposeURI() {
	var o message.Options
	o.AddString(message.OptionURIPath, "temperature")
	uri, err := message.ComposeURI("coap", &o, netip.MustParseAddrPort("[2001:db8::2:1]:61616"))
	fmt.Println(uri, err)
	// Output:
	// coap://[2001:db8::2:1]:61616/temperature <nil>
}

func ExampleNewRegistry() {
	r, err := message.NewRegistry(message.Definition{
		Number: 65001, Name: "Battery-Level", Format: message.FormatUint, MaxLen: 1,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var o message.Options
	o.AddUint(65001, 1000)
	fmt.Println(r.Check(&o, nil).Reason)

	var standard *message.Registry
	fmt.Println(standard.Check(&o, nil).Reason)
	// Output:
	// Battery-Level: 2 bytes, want 0 to 1
	// Option 65001 is critical and not understood
}

func ExampleCode() {
	fmt.Println(message.GET, message.Content, message.MakeCode(4, 30).Equivalent())
	// Output:
	// GET 2.05 Content 4.00 Bad Request
}

func ExampleParseContentFormat() {
	for _, s := range []string{"json", "text/plain", "11050", "jsn"} {
		f, err := message.ParseContentFormat(s)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(uint16(f), f)
	}
	// Output:
	// 50 application/json
	// 0 text/plain; charset=utf-8
	// 11050 application/json@deflate
	// message: unknown content format "jsn", did you mean application/json (50)?
}
