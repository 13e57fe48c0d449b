package message

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Format is how the value of an option is written (RFC 7252 section 3.2).
type Format uint8

// The value formats. FormatUnknown is that of an option which is not registered, or whose
// registration does not say it.
const (
	FormatUnknown Format = iota
	FormatEmpty          // no bytes
	FormatOpaque         // any bytes
	FormatUint           // an integer in network byte order, shortest form
	FormatString         // UTF-8
)

// String returns the word that the RFCs use: empty, opaque, uint, string.
func (f Format) String() string {
	if names := [...]string{"unknown", "empty", "opaque", "uint", "string"}; int(f) < len(names) {
		return names[f]
	}
	return "Format(" + strconv.Itoa(int(f)) + ")"
}

// Definition describes an option as its specification does. Critical, unsafe and
// NoCacheKey follow from the number (RFC 7252 section 5.4.6).
type Definition struct {
	Number OptionNumber
	// Name is the registered name, such as "Uri-Path".
	Name   string
	Format Format
	// MinLen and MaxLen bound the length of a value in bytes, both inclusive.
	MinLen, MaxLen int
	// Repeatable says that a message may carry more than one.
	Repeatable bool
}

// Registry knows the definitions of options. The nil Registry knows those that are
// registered with IANA and is what the library uses unless told otherwise. A
// Registry never changes and may be used concurrently.
type Registry struct {
	custom []Definition // sorted by number
}

// NewRegistry returns a registry that knows custom definitions besides the registered
// ones. A custom definition of a registered number takes its place. The error
// names a definition without a name, with a length range that is empty, or with a number
// or name that another custom definition has.
func NewRegistry(custom ...Definition) (*Registry, error) {
	r := &Registry{custom: slices.Clone(custom)}
	slices.SortFunc(r.custom, func(a, b Definition) int { return cmp.Compare(a.Number, b.Number) })
	for i, d := range r.custom {
		switch {
		case d.Name == "":
			return nil, fmt.Errorf("message: custom option %d has no name", d.Number)
		case d.MinLen < 0 || d.MaxLen < d.MinLen || d.MaxLen > MaxOptionLength:
			return nil, fmt.Errorf("message: custom option %s has lengths %d to %d, want a range within 0 to %d",
				d.Name, d.MinLen, d.MaxLen, MaxOptionLength)
		case i > 0 && d.Number == r.custom[i-1].Number:
			return nil, fmt.Errorf("message: option number %d is defined twice, as %s and %s", d.Number, r.custom[i-1].Name, d.Name)
		}
		for _, e := range r.custom[:i] {
			if strings.EqualFold(d.Name, e.Name) {
				return nil, fmt.Errorf("message: option name %s is defined twice, for %d and %d", d.Name, e.Number, d.Number)
			}
		}
	}
	return r, nil
}

// Lookup returns the definition of an option and whether it is known.
func (r *Registry) Lookup(n OptionNumber) (d Definition, ok bool) {
	if p := r.definition(n); p != nil {
		return *p, true
	}
	return Definition{Number: n, MaxLen: MaxOptionLength}, false
}

// definition returns the definition of an option, which must not be changed, or nil.
func (r *Registry) definition(n OptionNumber) *Definition {
	if r != nil {
		if i, ok := find(r.custom, n); ok {
			return &r.custom[i]
		}
	}
	if int(n) < len(optionIndex) {
		if i := optionIndex[n]; i > 0 {
			return &optionDefinitions[i-1]
		}
		return nil
	}
	if i, ok := find(optionDefinitions[:], n); ok {
		return &optionDefinitions[i]
	}
	return nil
}

// ByName returns the definition of the option with this name, ignoring case, and whether
// it is known.
func (r *Registry) ByName(name string) (d Definition, ok bool) {
	if r != nil {
		for _, d := range r.custom {
			if strings.EqualFold(d.Name, name) {
				return d, true
			}
		}
	}
	for _, d := range optionDefinitions {
		if strings.EqualFold(d.Name, name) {
			return d, true
		}
	}
	return Definition{}, false
}

// Definitions returns all definitions in order of their numbers, in a new slice.
func (r *Registry) Definitions() []Definition {
	all := slices.Clone(optionDefinitions[:])
	if r != nil {
		for _, d := range r.custom {
			if i, ok := find(all, d.Number); ok {
				all[i] = d
			} else {
				all = slices.Insert(all, i, d)
			}
		}
	}
	return all
}

func find(defs []Definition, n OptionNumber) (int, bool) {
	return slices.BinarySearchFunc(defs, n, func(d Definition, n OptionNumber) int { return cmp.Compare(d.Number, n) })
}

// Similar returns the names of at most three options that look like name, the most similar
// first, for a message that asks what was meant.
func (r *Registry) Similar(name string) []string {
	if name = lower(name); len(name) > 64 {
		return nil
	}
	type candidate struct {
		name string
		far  int
	}
	var near []candidate
	for _, d := range r.Definitions() {
		known := lower(d.Name)
		far := distance(name, known)
		if len(name) >= 3 && strings.Contains(known, name) {
			far = min(far, 2)
		}
		if far <= min(3, len(name)/2) {
			near = append(near, candidate{d.Name, far})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return cmp.Compare(a.far, b.far) })
	var names []string
	for _, c := range near[:min(3, len(near))] {
		names = append(names, c.name)
	}
	return names
}

// distance is the number of bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
