//go:build !linux

package main

import "errors"

func generate(load) (outcome, error) {
	return outcome{}, errors.New("the load generator wants Linux")
}
