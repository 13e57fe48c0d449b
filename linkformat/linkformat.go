// Package linkformat reads, writes and filters the CoRE Link Format (RFC 6690), the text
// that /.well-known/core and resource directories speak:
//
//	</sensors/temp>;rt="temperature-c";if="sensor",</firmware>;rt="firmware";sz=262144
//
// There are two forms. [Cursor] walks over the text and yields views into it, without
// allocating: for servers that filter and for small programs. [Link] is the convenient form in
// memory, made by [Parse] and written by [Append]. [Filter] and [Select] answer the queries of
// section 4.1 from the text.
//
// It does no I/O, holds no state and starts nothing. In particular it never follows a link, also
// not one in an attribute (section 3), and so it cannot run in a circle of them (section 6).
//
// Where to look:
//
//	section 2          cursor.go (reading), append.go (writing), chars.go, errors.go
//	section 2.1        resolve.go
//	sections 2.2 to 3  attribute.go (which attributes are special), link.go (their values)
//	section 4.1        filter.go
//	RFC 5987           extvalue.go (title* and other names that end in a star)
//	RFC 7252, 7.2.1    ct, in attribute.go and link.go
//	RFC 7641, 6        obs, in attribute.go and cursor.go
//
// # Strict when writing
//
// What is written follows the grammar, for known attributes that of their own values: sz is a number, an
// anchor is a URI reference. A value that does not fit is a [LinkError], as is a repeated attribute that
// may appear once only. One rule is wider than the grammar: a relation type may
// begin with a capital letter or a digit, since section 3.1 calls it an opaque string and such
// types are in use. Text is valid UTF-8; characters outside ASCII stand in targets as they are
// (RFC 9176 appendix B.4).
//
// # Tolerant when reading
//
// The grammar is followed with these exceptions, each of which the RFCs suggest:
//
//   - White space and line breaks around "," and ";" and at both ends are skipped. The grammar has
//     none, but the examples of section 5 are printed that way, a Link header of HTTP may have
//     it (section 2), and a file ends with a line break.
//   - A target may contain characters outside ASCII, and text need not be valid UTF-8 (section 2).
//   - rel, rev, anchor, media, title, title*, type, rt, if, sz and obs count once for
//     each link, what follows is ignored (RFC 5988 sections 5.3 and 5.4, RFC 7641 section 6; for rt,
//     if, sz, anchor and rev, which senders must not repeat either, we do the same).
//   - A value of obs is ignored (RFC 7641 section 6). So is a parameter with the reserved name href.
//   - The value of any attribute may be a token or a quoted string, whatever its own rule says: the
//     production link-extension allows that. Whether sz is a number is seen when it is asked for.
//
// An empty element (",,"), a semicolon or comma at the end, and "name=" without value are errors.
//
// To add an attribute with rules of its own, add it to attribute.go; one without needs nothing.
package linkformat
