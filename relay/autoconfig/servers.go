package autoconfig

import (
	"cmp"
	"slices"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
)

// server is one way to reach a service.
type server struct {
	protocol Protocol // smtp for submission
	host     string
	port     uint16
	implicit bool // TLS from the first byte; otherwise STARTTLS

	mechanisms []auth.Mechanism // to log on by
}

// takesPasswords reports whether users may show a password there. Outlook and
// Apple's profile know no other way to log on that the relay does: they have
// words for NTLM and CRAM-MD5, and none for tokens, SCRAM and certificates.
func (s server) takesPasswords() bool {
	return slices.Contains(s.mechanisms, auth.Plain) || slices.Contains(s.mechanisms, auth.Login)
}

// withPasswords returns the servers that take passwords.
func withPasswords(list []server) []server {
	return slices.DeleteFunc(list, func(s server) bool { return !s.takesPasswords() })
}

const smtp Protocol = "smtp"

// submission returns the servers to send mail through, the best first.
func (h *Handler) submission() []server {
	var list []server
	for _, c := range h.relay.Connectors() {
		named := slices.ContainsFunc(h.opts.Connectors, func(n string) bool {
			return strings.EqualFold(n, c.Name)
		})
		mechanisms := h.relay.Mechanisms(c.Name)
		if len(mechanisms) == 0 || !logsOn(c) ||
			!named && (len(h.opts.Connectors) > 0 || !everyUser(c)) {
			continue
		}
		host := h.hostOf(c)
		for _, b := range c.Bindings {
			// Servers use port 25 among themselves, and many networks shut it
			// to others (RFC 8314 section 3).
			if b.Port() == 0 || !named && (b.Addr().IsLoopback() || b.Port() == 25) {
				continue
			}
			s := server{
				protocol: smtp, host: host, port: b.Port(), implicit: c.ImplicitTLS,
				mechanisms: mechanisms,
			}
			if port, ok := h.opts.Ports[s.port]; ok {
				s.port = port
			}
			if !slices.ContainsFunc(list, s.same) {
				list = append(list, s)
			}
		}
	}
	slices.SortStableFunc(list, compare)
	return list
}

// same reports whether clients would not tell the two apart.
func (s server) same(o server) bool {
	return s.host == o.host && s.port == o.port && s.implicit == o.implicit
}

// incoming returns the servers to read mail from, the best first.
func (h *Handler) incoming() []server {
	list := make([]server, len(h.opts.Incoming))
	for i, in := range h.opts.Incoming {
		list[i] = server{
			protocol: in.Protocol, host: in.Hostname, port: in.Port, implicit: !in.StartTLS,
			mechanisms: in.Mechanisms,
		}
	}
	return list
}

func (h *Handler) hostOf(c *connector.Connector) string {
	if h.opts.Hostname != "" {
		return h.opts.Hostname
	}
	name := c.FQDN
	if name == "" {
		name = h.relay.Hostname()
	}
	if d, err := hostname(name); err == nil {
		return d
	}
	return name
}

// compare puts implicit TLS first (RFC 8314 section 3.3), then the registered
// ports.
func compare(a, b server) int {
	rank := func(s server) int {
		switch {
		case s.implicit && s.port == 465:
			return 0
		case s.implicit:
			return 1
		case s.port == 587:
			return 2
		default:
			return 3
		}
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.port, b.port))
}
