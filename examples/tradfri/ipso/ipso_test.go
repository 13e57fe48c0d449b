package ipso

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// What gateways were seen to send, with fields that are not known here.
func TestUnmarshal(t *testing.T) {
	on, off, level := Bool(true), Bool(false), 147
	var d Device
	require.NoError(t, json.Unmarshal([]byte(`{"9001":"Hall","9002":1529675918,"9020":1536890465,"9003":65541,"9054":0,"5750":2,"9019":1,
		"3311":[{"9003":0,"5850":1,"5851":147,"5717":0,"5711":454,"5709":32977,"5710":27105,"5706":"efd275"}],
		"3":{"0":"IKEA of Sweden","1":"TRADFRI bulb GU10 WS 400lm","3":"1.2.217","2":"","6":1}}`), &d))
	require.Equal(t, Device{
		ID: 65541, Name: "Hall", Type: TypeLight, Reachable: true, Created: 1529675918, LastSeen: 1536890465,
		Product: Product{Manufacturer: "IKEA of Sweden", Model: "TRADFRI bulb GU10 WS 400lm", Firmware: "1.2.217", Power: 1},
		Lights:  []Light{{State: State{On: &on, Level: &level, Color: "efd275"}}},
	}, d)

	d = Device{}
	require.NoError(t, json.Unmarshal([]byte(`{"9001":"K","5750":2,"9003":65538,"9019":0,"3311":[{"9003":0}]}`), &d))
	require.Equal(t, []Light{{}}, d.Lights, "a bulb without power may say nothing of its state")

	var g Group
	require.NoError(t, json.Unmarshal([]byte(`{"9001":"Home","9018":{"15002":{"9003":[65537,65538]}},"9003":131087,"9002":429400800,"5850":0}`), &g))
	want := Group{State: State{On: &off}, ID: 131087, Name: "Home", Created: 429400800}
	want.Members.Link.IDs = []int{65537, 65538}
	require.Equal(t, want, g)
}

// What they were seen to take.
func TestMarshal(t *testing.T) {
	on, level, tenths := Bool(true), 128, 10
	for want, v := range map[string]any{
		`{"3311":[{"5850":1}]}`:             DeviceChange{Lights: []Change{{State: State{On: &on}}}},
		`{"3311":[{"5851":128,"5712":10}]}`: DeviceChange{Lights: []Change{{State: State{Level: &level}, Transition: &tenths}}},
		`{"5850":1}`:                        GroupChange{Change: Change{State: State{On: &on}}},
		`{"9090":"me"}`:                     Pair{Identity: "me"},
	} {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
}

func TestBool(t *testing.T) {
	var b Bool
	for text, want := range map[string]Bool{"1": true, "0": false, "true": true, "false": false} {
		require.NoError(t, json.Unmarshal([]byte(text), &b))
		require.Equal(t, want, b)
	}
	require.Error(t, json.Unmarshal([]byte("2"), &b))
}
