// Package header reads, judges and writes the header section of a message.
//
// [Pool.Read] takes the header section off the front of a content that is still
// arriving. A [Header] then answers what the relay asks of it, drops fields,
// and gives everything else back octet for octet. [Received] writes the trace
// field.
//
//	h, body, err := pool.Read(content, 256<<10)
//	total, local := h.Hops("relay.example.com") // before fields are dropped
//	header.Firewall{Routing: true}.Apply(h)
//	w.Write(h.Bytes())
//	io.Copy(w, body)
//	h.Release()
//
// # What counts as a header section
//
// The section ends with the first blank line. A line that is no field, inside
// the section, is kept as it is: it is part of no field and has no name. If the
// very first line is no field, or there is no line at all, the section is empty
// and everything is body. Lines that a mailbox file has before a message, "From
// user date", are dropped if a field follows, and so is a byte order mark.
//
// The name of a field is the same with white space before its colon, on the
// same line or the next (RFC 5322 section 4.5).
//
// [Header.Bytes] always ends with a blank line, so that fields can be put in
// front of any message. That adds a line end, or two, to a message that has no
// header section or no body; every other message is given back as it came.
//
// # Concurrency
//
// A Pool may be used by many goroutines at once, a Header by one.
package header
