package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// credentials are what a client needs to talk to its gateway.
type credentials struct {
	Gateway  string `json:"gateway"` // host:port
	Identity string `json:"identity"`
	Key      string `json:"key"`
}

// defaultFile is where credentials are kept.
func defaultFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no folder for configurations: %w; say -file FILE", err)
	}
	return filepath.Join(dir, "coapkit", "tradfri.json"), nil
}

// load reads credentials.
func load(file string) (c credentials, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("%s does not exist: pair with a gateway first: tradfri pair ADDRESS", file)
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(text, &c); err != nil || c.Gateway == "" || c.Identity == "" || c.Key == "" {
		return c, fmt.Errorf("%s lacks gateway, identity or key: pair anew", file)
	}
	return c, nil
}

// draft is a file for credentials that appears under its name when it is complete, and that nobody but its
// owner can read.
type draft struct {
	file string
	tmp  *os.File
}

func newDraft(file string) (*draft, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // with mode 0600
	if err != nil {
		return nil, err
	}
	return &draft{file, tmp}, nil
}

// keep writes the credentials and gives the file its name.
func (d *draft) keep(c credentials) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err == nil {
		_, err = d.tmp.Write(append(text, '\n'))
	}
	if err == nil {
		err = d.tmp.Sync()
	}
	if e := d.tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(d.tmp.Name(), d.file)
	}
	if err != nil {
		return fmt.Errorf("the key is lost, for it cannot be kept: %w; pair again, as somebody else than %s", err, c.Identity)
	}
	return nil
}

// discard removes what was not kept.
func (d *draft) discard() {
	d.tmp.Close()
	os.Remove(d.tmp.Name()) // which is gone if it was kept
}
