package header

// Prefixes of the header fields by which the servers of an organization talk to each
// other. A client that may not set them could use them to pass for one of those servers.
const (
	ExchangeOrganization = "X-MS-Exchange-Organization-"
	ExchangeForest       = "X-MS-Exchange-Forest-"
	// Organization begins the relay's own fields of that kind.
	Organization = "X-Postern-Organization-"
)

// Firewall tells which fields a message may bring along or take with it. The
// zero Firewall lets none of them through.
type Firewall struct {
	// Routing lets Received and Resent- fields pass.
	Routing bool
	// Organization lets X-MS-Exchange-Organization- and X-Postern-Organization- fields pass.
	Organization bool
	// Forest lets X-MS-Exchange-Forest- fields pass.
	Forest bool
}

// Apply removes from h what does not pass, and Bcc and Resent-Bcc always
// (RFC 5322 section 3.6.3). It returns the number of fields removed.
func (w Firewall) Apply(h *Header) int {
	return h.Remove(func(f Field) bool { return !w.Passes(f) })
}

// Passes reports whether the field may stay.
func (w Firewall) Passes(f Field) bool {
	switch lower(f.raw[0]) {
	case 'b':
		return !f.Is("Bcc")
	case 'r':
		if f.Is("Resent-Bcc") {
			return false
		}
		return w.Routing || !f.Is("Received") && !f.HasPrefix("Resent-")
	case 'x':
		return (w.Organization || !f.HasPrefix(ExchangeOrganization) && !f.HasPrefix(Organization)) &&
			(w.Forest || !f.HasPrefix(ExchangeForest))
	}
	return true
}
