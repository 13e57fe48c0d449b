package message

import "strconv"

// OptionError says why an option has to be treated like one that is not understood
// (RFC 7252 sections 5.4.1, 5.4.3 and 5.4.5).
type OptionError struct {
	Number OptionNumber
	// Reason says what is wrong, a sentence that names the option. It is meant for the
	// diagnostic payload of a 4.02 (Bad Option) response.
	Reason string
}

// Error returns the reason.
func (e *OptionError) Error() string { return "message: " + e.Reason }

// Check returns the first critical option that an endpoint has to treat as not
// understood, nil if there is none: one that understood says no to, one whose length is
// out of range, a further occurrence of one that is not repeatable, a Uri-Path of "."
// or "..", which section 5.10.1 forbids, and a reserved Location-* option next to a
// Location-Path or Location-Query (section 5.10.7). A confirmable request with
// such an option is answered with 4.02; other messages are rejected (RFC 7252 section 5.4.1). A
// proxy does not check what it forwards.
//
// A nil understood stands for all options that r knows. An option that is understood and
// not known to r may have any length and be repeated. Check allocates only to report
// an option.
func (r *Registry) Check(o *Options, understood func(OptionNumber) bool) *OptionError {
	last, location := -1, false
	it := o.Iter()
	for it.Next() {
		n := it.number
		repeated := int(n) == last
		last = int(n)
		if !n.Critical() {
			location = location || n == OptionLocationPath || n == OptionLocationQuery
			if location && isReservedLocation(n) && (understood == nil || !understood(n)) {
				return &OptionError{n, n.String() + " is reserved for Location-* and not understood"}
			}
			continue
		}
		d := r.definition(n)
		switch {
		case understood == nil && d == nil, understood != nil && !understood(n):
			return &OptionError{n, r.label(n) + " is critical and not understood"}
		case d != nil && !d.allows(it.Value(), repeated):
			return &OptionError{n, d.complaint(it.Value(), repeated)}
		case n == OptionURIPath && isDots(it.Value()):
			return &OptionError{n, r.label(n) + " is " + strconv.Quote(string(it.Value()))}
		}
	}
	return nil
}

// DropInvalid removes the elective options that have to be ignored because their length
// is out of range or because they are further occurrences of one that is not repeatable
// (RFC 7252 sections 5.4.3 and 5.4.5), and reports whether there were any. Options that r
// does not know stay: to ignore them is to not look at them. The remaining options are
// copied to new memory then; otherwise nothing is allocated or written.
func (r *Registry) DropInvalid(o *Options) bool {
	clean := true
	for it, last := o.Iter(), -1; clean && it.Next(); last = int(it.number) {
		clean = r.keeps(it.number, it.Value(), last)
	}
	if clean {
		return false
	}
	kept := Options{buf: make([]byte, 0, len(o.buf)), tooLong: o.tooLong}
	for it, last := o.Iter(), -1; it.Next(); last = int(it.number) {
		if r.keeps(it.number, it.Value(), last) {
			kept.Add(it.number, it.Value())
		}
	}
	*o = kept
	return true
}

func (r *Registry) keeps(n OptionNumber, value []byte, last int) bool {
	if n.Critical() {
		return true
	}
	d := r.definition(n)
	return d == nil || d.allows(value, int(n) == last)
}

func (d *Definition) allows(value []byte, repeated bool) bool {
	return len(value) >= d.MinLen && len(value) <= d.MaxLen && (d.Repeatable || !repeated)
}

func (d *Definition) complaint(value []byte, repeated bool) string {
	if repeated && !d.Repeatable {
		return d.Name + " occurs twice"
	}
	want := strconv.Itoa(d.MinLen)
	if d.MinLen != d.MaxLen {
		want += " to " + strconv.Itoa(d.MaxLen)
	}
	unit := " bytes"
	if len(value) == 1 {
		unit = " byte"
	}
	return d.Name + ": " + strconv.Itoa(len(value)) + unit + ", want " + want
}

// label is the name that people know the option by.
func (r *Registry) label(n OptionNumber) string {
	if d := r.definition(n); d != nil {
		return d.Name
	}
	return n.String()
}
