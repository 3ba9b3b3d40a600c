package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// explain prints how the configuration decides on a session, without running
// it. The question is words such as
//
//	remote=192.0.2.9 local=127.0.0.1:2525 tls user=alice
//	from=a@example.test to=b@example.test size=1000
//
// local may be left out if there is one binding; a remote without a port is
// fine.
func explain(
	cfg relay.Config, senders map[string][]string, question string, stdout, stderr io.Writer,
) int {
	q, err := parseQuery(question)
	q.Senders = append(q.Senders, senders[q.User]...)
	if err == nil && !q.Local.IsValid() {
		q.Local, err = onlyBinding(cfg)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	cfg.Spool = memspool.New(nil) // nothing is queued
	r, err := relay.New(cfg)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	defer r.Close()
	e, err := r.Explain(context.Background(), q)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	if _, err := e.WriteTo(stdout); err != nil {
		return 1
	}
	return 0
}

func parseQuery(question string) (q relay.ExplainQuery, err error) {
	for _, word := range strings.Fields(question) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "remote":
			q.Remote, err = parsePeer(value)
		case "local":
			q.Local, err = netip.ParseAddrPort(value)
		case "tls":
			q.TLS = value == "" || value == "true"
		case "user":
			q.User = value
		case "groups":
			q.Groups = strings.Split(value, ",")
		case "senders":
			q.Senders = strings.Split(value, ",")
		case "server":
			q.Server = value == "" || value == "true"
		case "names":
			q.Names = strings.Split(value, ",")
		case "partner":
			q.Partner = value
		case "from":
			q.From = strings.Trim(value, "<>")
		case "to":
			q.To = strings.Trim(value, "<>")
		case "size":
			q.Size, err = strconv.ParseInt(value, 10, 64)
		default:
			err = fmt.Errorf(
				"want remote, local, tls, user, groups, senders, server, names, partner, from, " +
					"to or size",
			)
		}
		if err != nil {
			return q, fmt.Errorf("-explain: %q: %w", word, err)
		}
	}
	if !q.Remote.IsValid() {
		return q, fmt.Errorf("-explain: remote=ADDRESS is missing")
	}
	return q, nil
}

func parsePeer(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	return netip.ParseAddrPort(s)
}

func onlyBinding(cfg relay.Config) (local netip.AddrPort, err error) {
	for _, c := range cfg.Connectors {
		for _, b := range c.Bindings {
			if local.IsValid() && b != local {
				return local, fmt.Errorf(
					"-explain: there are several bindings: say which with local=ADDRESS:PORT",
				)
			}
			local = b
		}
	}
	return local, nil
}
