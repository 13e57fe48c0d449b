//go:build !linux

package main

import "errors"

func generateSecure(load) (outcome, error) {
	return outcome{}, errors.New("the load generator wants Linux")
}

func generate(load) (outcome, error) {
	return outcome{}, errors.New("the load generator wants Linux")
}
