package linkformat

import "net/url"

// Resolve returns the absolute URIs of the target and of the context of the link (section 2.1).
// base is the absolute URI that the link format text was received from; the answer to
// a request by multicast comes from the address of the server, not from that of the group.
//
// Target and anchor are resolved against base, independently of each other, as RFC 9176
// appendix B.4 reads the section: "temp" in a text from coap://h/sensors/ is coap://h/sensors/temp. The
// context is the anchor, if there is one; else the origin of the target, scheme, host and port; for
// a target without a host, such as a URN, the origin of base.
//
// The error is a [*LinkError] with [ErrTarget] or [ErrValue] if target or anchor is no URI
// reference. Nobody has looked yet where the URIs lead: a text can name any host.
func (l *Link) Resolve(base *url.URL) (target, context *url.URL, err error) {
	if target, err = base.Parse(l.Target); err != nil {
		return nil, nil, &LinkError{Target: l.Target, Reason: ErrTarget}
	}
	if anchor, ok := l.Get("anchor"); ok {
		if context, err = base.Parse(anchor); err != nil {
			return nil, nil, &LinkError{Target: l.Target, Param: "anchor", Reason: ErrValue}
		}
		return target, context, nil
	}
	if target.Host == "" {
		return target, origin(base), nil
	}
	return target, origin(target), nil
}

// origin returns scheme, host and port of a URI (RFC 6454 section 4).
func origin(u *url.URL) *url.URL { return &url.URL{Scheme: u.Scheme, Host: u.Host} }
