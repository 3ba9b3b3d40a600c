package autoconfig

import (
	"fmt"
	"slices"
)

// Record is a DNS record to publish.
type Record struct {
	Name string // with a trailing dot: "_submissions._tcp.example.com."
	Type string // SRV, TXT or CNAME
	Data string // as in a zone file: "0 1 465 relay.example.com."
}

// String returns the record as a line of a zone file, without a time to live.
func (r Record) String() string { return r.Name + " IN " + r.Type + " " + r.Data }

// Records returns the DNS records for a domain, by which mail programs and
// other servers find what the relay and the handler offer: SRV records of the
// servers (RFC 6186, RFC 8314), one for Outlook, the names autoconfig, where
// Thunderbird gets settings, and mta-sts as aliases of the web server, and the
// announcement of the MTA-STS policy. None for a domain that the handler does
// not answer for.
//
// A record that the domain already has under one of the names must go. Publish
// the last one, which announces the MTA-STS policy, when the policy can be
// fetched.
func (h *Handler) Records(domain string) []Record {
	domain, err := hostname(domain)
	outgoing := h.submission()
	if err != nil || !h.serves(domain) {
		return nil
	}
	var list []Record
	add := func(name, kind, format string, args ...any) {
		list = append(
			list,
			Record{Name: name + "." + domain + ".", Type: kind, Data: fmt.Sprintf(format, args...)},
		)
	}
	// A client compares the priorities of different services as well (RFC 6186
	// section 3.4).
	service := func(servers []server) {
		for i, s := range servers {
			add(s.service()+"._tcp", "SRV", "%d 1 %d %s.", i*10, s.port, s.host)
		}
	}
	service(outgoing)
	service(h.incoming())
	alias := func(name string) {
		if name+"."+domain != h.opts.WebHost {
			add(name, "CNAME", "%s.", h.opts.WebHost)
		}
	}
	if slices.ContainsFunc(outgoing, server.takesPasswords) {
		add("_autodiscover._tcp", "SRV", "0 1 443 %s.", h.opts.WebHost)
	}
	if len(h.mailServers(outgoing)) > 0 && len(h.mailServers(h.incoming())) > 0 {
		alias("autoconfig")
	}
	if h.opts.STS != nil {
		alias("mta-sts")
		add("_mta-sts", "TXT", `"v=STSv1; id=%s;"`, h.opts.STS.id())
	}
	return list
}

// service is the name of RFC 6186 section 3.1, or of RFC 8314 section 5.1 for
// submission with implicit TLS.
func (s server) service() string {
	switch {
	case s.protocol == smtp && s.implicit:
		return "_submissions"
	case s.protocol == smtp:
		return "_submission"
	case s.implicit:
		return "_" + string(s.protocol) + "s"
	default:
		return "_" + string(s.protocol)
	}
}
