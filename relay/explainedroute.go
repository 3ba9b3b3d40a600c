package relay

import (
	"fmt"
	"slices"
	"strings"
)

// RouteKind says by which means a copy would go.
type RouteKind uint8

// The means.
const (
	// NoRoute: the recipient is refused, or there is none.
	NoRoute RouteKind = iota
	// ToMailbox: to Config.Mailboxes.
	ToMailbox
	// ToTransport: to Config.Transport.
	ToTransport
	// ToConnector: to the hosts or the transport of a send connector.
	ToConnector
	// ToMX: to the mail exchangers of Domain, by a send connector.
	ToMX
	// AskedLater: whether the recipient exists is asked when the message has
	// arrived, or at the attempt.
	AskedLater
	// Unreachable: no send connector matches, and the copy waits for one.
	Unreachable
	// TooLarge: those that match take no message of this size.
	TooLarge
)

var routeKinds = [...]string{
	"", "mailbox", "transport", "send", "mx", "resolve", "unreachable", "toolarge",
}

// String returns the word of the kind, such as "mx"; empty for NoRoute.
func (k RouteKind) String() string {
	if int(k) < len(routeKinds) {
		return routeKinds[k]
	}
	return fmt.Sprintf("RouteKind(%d)", uint8(k))
}

// Route says where a recipient's copy would go.
type Route struct {
	Kind RouteKind
	// Connector is the send connector, of ToConnector and ToMX; Domain whose
	// exchangers are meant, of ToMX.
	Connector, Domain string
}

// String returns the route as it is stored, such as "mailbox", "send/out" or
// "mx/example.com/out"; empty for none.
func (r Route) String() string {
	switch r.Kind {
	case ToConnector:
		return r.Kind.String() + "/" + r.Connector
	case ToMX:
		return r.Kind.String() + "/" + r.Domain + "/" + r.Connector
	}
	return r.Kind.String()
}

// MarshalText returns what String does.
func (r Route) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (r *Route) UnmarshalText(b []byte) error {
	word, rest, parted := strings.Cut(string(b), "/")
	i := slices.Index(routeKinds[:], word)
	got := Route{Kind: RouteKind(max(i, 0))}
	switch {
	case got.Kind == ToConnector && parted:
		got.Connector = rest
	case got.Kind == ToMX && parted:
		got.Domain, got.Connector, parted = strings.Cut(rest, "/")
		if !parted {
			i = -1
		}
	case got.Kind == ToConnector, got.Kind == ToMX, parted:
		i = -1
	}
	if i < 0 {
		return fmt.Errorf("relay: unknown route %q", b)
	}
	*r = got
	return nil
}
