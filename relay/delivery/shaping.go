package delivery

import (
	"slices"
	"strings"
	"time"
)

// Shaping says how much goes where at once and over time. The relay keeps to
// less of it while a destination slows down or refuses.
type Shaping struct {
	// Providers are operators of many sites, whose limits count for all of them
	// together. Defaults to [Providers], which others are to be appended to;
	// empty and not nil for none.
	Providers []Provider
	// Site bounds each site: a set of mail exchangers, whatever the domains
	// that have it, or the smart hosts of a send connector. MaxConnections of
	// its next hop counts too. Defaults to no further bound.
	Site Limits
	// Source bounds what leaves from one local address to one site. Defaults to
	// no further bound.
	Source Limits
	// StreamSite bounds each stream at each site. Defaults to no further bound.
	StreamSite Limits
	// Streams are those that differ from others. Defaults to none.
	Streams []Stream
	// KeepGoing turns off what the relay does by itself when a destination
	// refuses for its rate, its reputation or authentication. Failures of
	// connections still make a site rest, and it still has no more places than
	// it takes (Fairness of package relay). Defaults to false.
	KeepGoing bool
}

// Limits bound what goes to a destination. A zero field sets no bound.
type Limits struct {
	// Connections are those in use at once. Each attempt counts as one, also
	// where several share a connection.
	Connections int
	// MessagesPerConnection ends a connection after that many, or after fewer
	// where the send connector or the host says so. A fault of streams: they
	// share connections.
	MessagesPerConnection int
	// Rate bounds the attempts in a time.
	Rate Rate
}

// Rate is a number of messages in a time, counted evenly: a tenth of it may
// come at once. The zero Rate sets no bound.
type Rate struct {
	Messages int
	Per      time.Duration // of a second at least; 0 is an hour
}

// Stream says what is particular of a stream.
type Stream struct {
	// Name is that of the messages' Stream. Empty is the default stream.
	Name string
	// Weight is its share beside other streams, 1 to 100. Defaults to 1.
	Weight int
	// Limits bound it at each site, in place of Shaping.StreamSite.
	Limits Limits
}

// Provider is an operator of mail exchangers for many domains.
type Provider struct {
	// Name is for people, in lower case.
	Name string
	// Exchangers are ends of the names of its mail exchangers, such as
	// "google.com", which stands for what is under it as well. A domain is the
	// provider's if all its exchangers are.
	Exchangers []string
	// Limits bound the mail to all its sites together.
	Limits Limits
}

// Has reports whether a mail exchanger is the provider's.
func (p *Provider) Has(exchanger string) bool {
	name := strings.ToLower(strings.TrimSuffix(exchanger, "."))
	return slices.ContainsFunc(p.Exchangers, func(end string) bool {
		rest, ok := strings.CutSuffix(name, end)
		return ok && (rest == "" || strings.HasSuffix(rest, "."))
	})
}

// Providers returns the large operators of mailboxes and filters that publish
// what they take from one address, or are known to.
func Providers() []Provider {
	limits := func(messages, connections int) Limits {
		return Limits{Connections: connections, MessagesPerConnection: messages}
	}
	return []Provider{
		{"google", []string{"google.com", "googlemail.com"}, limits(50, 5)},
		{"microsoft", []string{"outlook.com", "hotmail.com"}, limits(50, 5)},
		{"yahoo", []string{"yahoodns.net"}, limits(20, 0)},
		{"apple", []string{"icloud.com", "apple.com"}, limits(5, 10)},
		{"comcast", []string{"comcast.net"}, limits(1000, 25)},
		{"orange", []string{"orange.fr"}, limits(100, 2)},
		{"mimecast", []string{"mimecast.com"}, limits(100, 10)},
	}
}
