package message

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
)

// The methods of this file read and write the values of options that the RFCs define. A
// value whose length is out of range reads as if the option were absent (RFC 7252
// section 5.4.3): whether that is an error for the message, [Registry.Check] says.

// ContentFormat returns the format of the payload and whether the message states one
// (RFC 7252 section 5.10.3).
func (o *Options) ContentFormat() (f ContentFormat, ok bool) {
	v, ok := o.boundedUint(OptionContentFormat, 2)
	return ContentFormat(v), ok
}

// SetContentFormat states the format of the payload.
func (o *Options) SetContentFormat(f ContentFormat) { o.SetUint(OptionContentFormat, uint64(f)) }

// Accept returns the format that the client wants and whether it wants a certain one
// (RFC 7252 section 5.10.4).
func (o *Options) Accept() (f ContentFormat, ok bool) {
	v, ok := o.boundedUint(OptionAccept, 2)
	return ContentFormat(v), ok
}

// SetAccept asks for a certain format.
func (o *Options) SetAccept(f ContentFormat) { o.SetUint(OptionAccept, uint64(f)) }

const (
	defaultMaxAge = 60 * time.Second
	maxMaxAge     = (1<<32 - 1) * time.Second
)

// MaxAge returns how long a response stays fresh, 0 to 2^32-1 seconds. Without the option
// that is 60 seconds (RFC 7252 section 5.10.5).
func (o *Options) MaxAge() time.Duration {
	if v, ok := o.boundedUint(OptionMaxAge, 4); ok {
		return time.Duration(v) * time.Second
	}
	return defaultMaxAge
}

// SetMaxAge says how long the response stays fresh. A fraction of a second is cut off,
// what is out of range becomes the nearest value in range. The default of 60 seconds is
// said by leaving the option out (RFC 7252 section 5.4.4).
func (o *Options) SetMaxAge(d time.Duration) {
	d = min(max(d, 0), maxMaxAge).Truncate(time.Second)
	if d == defaultMaxAge {
		o.Remove(OptionMaxAge)
		return
	}
	o.SetUint(OptionMaxAge, uint64(d/time.Second))
}

// Size1 returns the size of the request body in bytes, in a 4.13 response the largest
// that the server takes, and whether it is stated (RFC 7252 section 5.10.9, RFC 7959
// section 4).
func (o *Options) Size1() (size uint32, ok bool) {
	v, ok := o.boundedUint(OptionSize1, 4)
	return uint32(v), ok
}

// SetSize1 states the size of the request body in bytes.
func (o *Options) SetSize1(size uint32) { o.SetUint(OptionSize1, uint64(size)) }

// Size2 returns the size of the response body in bytes, in a request 0 to ask for it,
// and whether it is stated (RFC 7959 section 4).
func (o *Options) Size2() (size uint32, ok bool) {
	v, ok := o.boundedUint(OptionSize2, 4)
	return uint32(v), ok
}

// SetSize2 states the size of the response body in bytes.
func (o *Options) SetSize2(size uint32) { o.SetUint(OptionSize2, uint64(size)) }

func (o *Options) boundedUint(n OptionNumber, maxLen int) (v uint64, ok bool) {
	if b, ok := o.First(n); !ok || len(b) > maxLen {
		return 0, false
	}
	return o.Uint(n)
}

// MaxETagLength is the length of the longest entity-tag in bytes; the shortest has 1
// (RFC 7252 section 5.10.6).
const MaxETagLength = 8

// ETag returns the first entity-tag, a view, and whether there is one. A response has at
// most one.
func (o *Options) ETag() (tag []byte, ok bool) {
	for tag := range o.ETags() {
		return tag, true
	}
	return nil, false
}

// ETags ranges over the entity-tags of a request, which are those of the representations
// that the client has stored, as views (RFC 7252 section 5.10.6.2).
func (o *Options) ETags() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for tag := range o.Values(OptionETag) {
			if len(tag) >= 1 && len(tag) <= MaxETagLength && !yield(tag) {
				return
			}
		}
	}
}

// SetETag states the entity-tag of the response. The error says that the tag has not 1
// to [MaxETagLength] bytes.
func (o *Options) SetETag(tag []byte) error {
	if err := checkETag(OptionETag, tag, 1); err != nil {
		return err
	}
	o.Set(OptionETag, tag)
	return nil
}

// AddETag adds an entity-tag to a request: the server may answer 2.03 instead of
// sending a representation that the client has. The error is that of [Options.SetETag].
func (o *Options) AddETag(tag []byte) error {
	if err := checkETag(OptionETag, tag, 1); err != nil {
		return err
	}
	o.Add(OptionETag, tag)
	return nil
}

// AddIfMatch makes the request conditional: it is performed only if the resource has
// this entity-tag, or one of several that were added. The empty tag stands for any
// representation that exists (RFC 7252 section 5.10.8.1). The error says that the tag has
// more than [MaxETagLength] bytes.
func (o *Options) AddIfMatch(tag []byte) error {
	if err := checkETag(OptionIfMatch, tag, 0); err != nil {
		return err
	}
	o.Add(OptionIfMatch, tag)
	return nil
}

func checkETag(n OptionNumber, tag []byte, minLen int) error {
	if len(tag) < minLen || len(tag) > MaxETagLength {
		return fmt.Errorf("message: %v has %d bytes, want %d to %d", n, len(tag), minLen, MaxETagLength)
	}
	return nil
}

// SetIfNoneMatch makes the request conditional: it is performed only if the resource does
// not exist (RFC 7252 section 5.10.8.2).
func (o *Options) SetIfNoneMatch() { o.Set(OptionIfNoneMatch, nil) }

// IfNoneMatch reports whether the request is to be performed only if the resource does
// not exist.
func (o *Options) IfNoneMatch() bool { return o.Has(OptionIfNoneMatch) }

// Precondition reports whether If-Match and If-None-Match allow a request to be performed
// on a resource that exists or not and has this entity-tag, nil if it has none. If
// not, the answer is 4.12 (RFC 7252 section 5.10.8).
func (o *Options) Precondition(etag []byte, exists bool) bool {
	if exists && o.IfNoneMatch() {
		return false
	}
	conditional := false
	for tag := range o.Values(OptionIfMatch) {
		if exists && (len(tag) == 0 || bytes.Equal(tag, etag)) {
			return true
		}
		conditional = true
	}
	return !conditional
}

// Path returns the path of the request as a URI has it: percent-encoded, "/" without
// Uri-Path options (RFC 7252 section 6.5, steps 6 and 7). The segments "." and "..", which
// are forbidden, come out as "%2E" and "%2E%2E". For the segments as they are, range over
// Values(OptionURIPath).
func (o *Options) Path() string { return string(appendPath(nil, o, OptionURIPath)) }

// Query returns the query of the request as a URI has it after the "?": arguments
// percent-encoded and joined by "&" (RFC 7252 section 6.5, step 8). For the arguments as they are,
// range over Values(OptionURIQuery).
func (o *Options) Query() string {
	return strings.TrimPrefix(string(appendQuery(nil, o, OptionURIQuery)), "?")
}

// QueryValue returns what follows "key=" in the first query argument that starts so, not
// percent-encoded, and whether there is one. An argument that is just the key has the
// value "".
func (o *Options) QueryValue(key string) (value string, ok bool) {
	for arg := range o.Values(OptionURIQuery) {
		if k, v, _ := bytes.Cut(arg, []byte{'='}); string(k) == key {
			return string(v), true
		}
	}
	return "", false
}

// Target returns path and query of the request as a URI has them, such as "/sensors?rt=light".
func (o *Options) Target() string {
	return string(appendTarget(nil, o, OptionURIPath, OptionURIQuery))
}

// SetTarget sets path and query of a request from their form in a URI, such as
// "/sensors?rt=light", in place of those there are. Dot segments are resolved and the
// syntax is checked as by [ParseURI]. The error is a [*URIError]; the options stay as
// they are then.
func (o *Options) SetTarget(target string) error {
	return o.setTarget(OptionURIPath, OptionURIQuery, target)
}

func (o *Options) setTarget(pathNumber, queryNumber OptionNumber, target string) error {
	if target != "" && target[0] != '/' && target[0] != '?' {
		return &URIError{URI: target, Reason: "a path starts with a slash, write " + strconv.Quote("/"+target)}
	}
	if strings.IndexByte(target, '#') >= 0 {
		return &URIError{URI: target, Reason: "a CoAP URI has no fragment, write # as %23"}
	}
	path, query, reason := parseTarget(target)
	if reason != "" {
		return &URIError{URI: target, Reason: reason}
	}
	o.Remove(pathNumber)
	o.Remove(queryNumber)
	for _, segment := range path {
		o.AddString(pathNumber, segment)
	}
	for _, arg := range query {
		o.AddString(queryNumber, arg)
	}
	return nil
}

// SetPath sets the path of a request, in place of the one there is, from segments separated by
// slashes, such as "/sensors/living room". Percent-encodings are decoded, so a slash
// within a segment is written %2F and a percent sign %25; other characters stand for
// themselves, but "?" and "#" are refused. "" and "/" are the root; a trailing slash makes
// an empty last segment. It does not allocate beyond the memory of the options.
//
// The error is a [*URIError]: a segment "." or "..", one of more than 255 bytes, a "%" that
// encodes nothing. The options stay as they are then.
func (o *Options) SetPath(path string) error {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		c := path[i : i+1]
		return &URIError{URI: path, Reason: "a path has no " + c + ", use SetTarget for a query or write it as " +
			string(appendEscaped(nil, c, isUnreserved))}
	}
	rest := strings.TrimPrefix(path, "/")
	var buf [maxURIOption]byte
	for raw := range strings.SplitSeq(rest, "/") {
		if reason := checkEncodedSegment(buf[:0], raw); reason != "" {
			return &URIError{URI: path, Reason: reason}
		}
	}
	o.Remove(OptionURIPath)
	if rest == "" {
		return nil
	}
	for raw := range strings.SplitSeq(rest, "/") {
		o.Add(OptionURIPath, appendUnescaped(buf[:0], raw))
	}
	return nil
}

// checkEncodedSegment is checkSegment for a segment that is still percent-encoded. It may
// decode it into buf.
func checkEncodedSegment(buf []byte, s string) (reason string) {
	if _, reason = countEscapes(s, isAnyChar); reason != "" {
		return reason
	}
	return checkSegment(appendUnescaped(buf, s))
}

// SetPathSegments sets the path of a request, in place of the one there is, from segments
// as they are: nothing is decoded, and a slash is part of its segment. The error is a
// [*URIError], as for [Options.SetPath].
func (o *Options) SetPathSegments(segments ...string) error {
	for _, segment := range segments {
		if reason := checkSegment(segment); reason != "" {
			return &URIError{URI: strings.Join(segments, "/"), Reason: reason}
		}
	}
	o.Remove(OptionURIPath)
	for _, segment := range segments {
		o.AddString(OptionURIPath, segment)
	}
	return nil
}

// AddQuery adds an argument to the query of a request, such as "rt=light". Nothing is
// decoded: "&" and "%" are part of the argument. The error is a [*URIError] for more than 255
// bytes.
func (o *Options) AddQuery(arg string) error {
	if reason := checkQueryArgument(arg); reason != "" {
		return &URIError{URI: "?" + arg, Reason: reason}
	}
	o.AddString(OptionURIQuery, arg)
	return nil
}

// Location returns where a resource was created, a reference such as "/jobs/17?a=b" to be
// resolved relative to the URI of the request (RFC 7252 section 5.10.7). ok is false if
// there is no Location option, and if the location cannot be told: a segment is "." or
// "..", or there are Location-* options whose meaning is not defined yet.
func (o *Options) Location() (ref string, ok bool) {
	found := false
	it := o.Iter()
	for it.Next() {
		switch {
		case isReservedLocation(it.number), it.number == OptionLocationPath && isDots(it.Value()):
			return "", false
		case it.number == OptionLocationPath, it.number == OptionLocationQuery:
			found = true
		}
	}
	if !found {
		return "", false
	}
	ref = string(appendTarget(nil, o, OptionLocationPath, OptionLocationQuery))
	if strings.HasPrefix(ref, "//") {
		ref = "/." + ref // else its first segment would be read as the name of a server
	}
	return ref, true
}

// SetLocation says where a resource was created, as path and query in the form of a URI,
// such as "/jobs/17?a=b", in place of the location there is. The error is a [*URIError];
// the options stay as they are then. "" removes the location.
func (o *Options) SetLocation(ref string) error {
	if err := o.setTarget(OptionLocationPath, OptionLocationQuery, ref); err != nil {
		return err
	}
	if ref != "" && !o.Has(OptionLocationPath) && !o.Has(OptionLocationQuery) {
		// The root. No option at all would be no location, an empty segment composes to "/".
		o.AddString(OptionLocationPath, "")
	}
	return nil
}

// isReservedLocation reports whether n is kept for a Location-* option of the future
// (RFC 7252 section 5.10.7).
func isReservedLocation(n OptionNumber) bool { return n == 128 || n == 132 || n == 136 || n == 140 }
