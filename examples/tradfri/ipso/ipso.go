// Package ipso has the objects of an IKEA Tradfri gateway as they travel: JSON whose names are the
// numbers of IPSO smart objects and resources, and some more from 9000 on that are the
// gateway's own.
//
// IKEA has not published the interface. What is here follows what its users have found out; fields that this
// program has no use for are left out, and who reads must expect more of them.
package ipso

import (
	"bytes"
	"fmt"
)

// Paths of the gateway. What is in a list is at the path of the list and its number.
const (
	Devices = "/15001"
	Groups  = "/15004"
	About   = "/15011/15012" // gateway details, an [Info]
	Pairing = "/15011/9063"  // POST of a [Pair], answered with a [Paired]
)

// PairingIdentity is the identity that goes with the security code on the label of the gateway. It may do
// nothing but make identities for clients.
const PairingIdentity = "Client_identity"

// Types of devices, [Device.Type].
const (
	TypeRemote = 0
	TypeLight  = 2
	TypeOutlet = 3
)

// MaxLevel is the brightest that a dimmer goes; 1 is the darkest, 0 is off.
const MaxLevel = 254

// Bool is 0 or 1.
type Bool bool

// MarshalJSON writes a digit.
func (b Bool) MarshalJSON() ([]byte, error) {
	if b {
		return []byte("1"), nil
	}
	return []byte("0"), nil
}

// UnmarshalJSON reads a digit, or a truth value of JSON.
func (b *Bool) UnmarshalJSON(text []byte) error {
	switch {
	case bytes.Equal(text, []byte("1")), bytes.Equal(text, []byte("true")):
		*b = true
	case bytes.Equal(text, []byte("0")), bytes.Equal(text, []byte("false")):
		*b = false
	default:
		return fmt.Errorf("want 0 or 1, have %s", text)
	}
	return nil
}

// State is what a light or a group does. What is nil or empty is not known, or is not to be changed.
type State struct {
	On    *Bool  `json:"5850,omitempty"`
	Level *int   `json:"5851,omitempty"` // 0 to MaxLevel
	Color string `json:"5706,omitempty"` // hexadecimal RGB, of lights that have colours
}

// Change is what a light or a group is to do.
type Change struct {
	State
	Transition *int `json:"5712,omitempty"` // how long it takes, in tenths of a second
}

// Light is one light of a device.
type Light struct {
	State
	ID int `json:"9003"` // counts from 0 within the device
}

// Device is a bulb, a remote control or something else.
type Device struct {
	ID        int     `json:"9003"`
	Name      string  `json:"9001"`
	Type      int     `json:"5750"`
	Reachable Bool    `json:"9019"` // as far as the gateway has noticed
	Created   int64   `json:"9002"` // Unix time
	LastSeen  int64   `json:"9020"`
	Product   Product `json:"3"`
	Lights    []Light `json:"3311,omitempty"`
}

// Product says what a device is.
type Product struct {
	Manufacturer string `json:"0"`
	Model        string `json:"1"`
	Firmware     string `json:"3"`
	Power        int    `json:"6"`           // 1 from the mains, 3 from a battery
	Battery      *int   `json:"9,omitempty"` // in per cent
}

// DeviceChange is the body of a PUT to a device.
type DeviceChange struct {
	Name   string   `json:"9001,omitempty"`
	Lights []Change `json:"3311,omitempty"`
}

// Group is a group of devices. Its state is what it was told last, whatever its members have been
// told since.
type Group struct {
	State
	ID      int     `json:"9003"`
	Name    string  `json:"9001"`
	Created int64   `json:"9002"`
	Members Members `json:"9018"`
}

// Members are the devices of a group.
type Members struct {
	Link struct {
		IDs []int `json:"9003"`
	} `json:"15002"`
}

// GroupChange is the body of a PUT to a group.
type GroupChange struct {
	Change
	Name string `json:"9001,omitempty"`
}

// Info is what the gateway says of itself.
type Info struct {
	ID       string `json:"9081"`
	Firmware string `json:"9029"`
	Time     int64  `json:"9059"` // Unix time
}

// Pair asks for an identity of this name.
type Pair struct {
	Identity string `json:"9090"`
}

// Paired has its key.
type Paired struct {
	Key      string `json:"9091"`
	Firmware string `json:"9029"`
}
