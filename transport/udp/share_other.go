//go:build !linux

package udp

import (
	"errors"
	"fmt"
)

// setReusePort refuses: others give all datagrams to one of the sockets, or need another option for that.
func setReusePort(uintptr) error {
	return fmt.Errorf("udp: this system does not spread datagrams over sockets, listen with one: %w", errors.ErrUnsupported)
}
