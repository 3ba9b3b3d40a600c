package relay_test

import (
	"context"
	"net/netip"
	"net/smtp"
	"os"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func ExampleRelay_Explain() {
	c := connector.FromInternet("internet")
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.25:25")}
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.test",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{c},
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.test", Recipients: domains.StaticRecipients("alice")},
		},
		Mailboxes: delivery.Maildir("mail"),
	})
	if err != nil {
		panic(err)
	}
	e, err := r.Explain(context.Background(), relay.ExplainQuery{
		Local:  netip.MustParseAddrPort("192.0.2.25:25"),
		Remote: netip.MustParseAddrPort("198.51.100.7:40000"),
		From:   "ceo@example.test",
		To:     "alice@example.test",
	})
	if err != nil {
		panic(err)
	}
	_, _ = e.WriteTo(os.Stdout)
	// Output:
	// connectors
	//   > internet: its range 0.0.0.0/0 is the narrowest on 192.0.2.25:25 that holds 198.51.100.7
	// groups     AnonymousUsers, Custom
	// principal  anonymous
	// rights
	//   + ms-Exch-SMTP-Submit: permission group AnonymousUsers
	//   - ms-Exch-SMTP-Accept-Any-Recipient: no grant, and the permission group AnonymousUsers does not hold it
	//   + ms-Exch-SMTP-Accept-Any-Sender: permission group AnonymousUsers
	//   - ms-Exch-SMTP-Accept-Authoritative-Domain-Sender: denied to anonymous
	//   - ms-Exch-SMTP-Accept-Authentication-Flag: no grant, and the permission group AnonymousUsers does not hold it
	//   + ms-Exch-Accept-Headers-Routing: permission group AnonymousUsers
	//   - ms-Exch-Accept-Headers-Organization: no grant, and the permission group AnonymousUsers does not hold it
	//   - ms-Exch-Accept-Headers-Forest: no grant, and the permission group AnonymousUsers does not hold it
	//   - ms-Exch-Bypass-Anti-Spam: no grant, and the permission group AnonymousUsers does not hold it
	//   - ms-Exch-Bypass-Message-Size-Limit: no grant, and the permission group AnonymousUsers does not hold it
	// domain     example.test (Authoritative)
	// recipient  known
	// route      mailbox
	// replies
	//   MAIL FROM:<ceo@example.test>
	//     550 5.7.1 Anonymous client does not have permissions to send as this sender (missing right ms-Exch-SMTP-Accept-Authoritative-Domain-Sender)
}

// TestExplainIsWhatASessionGets holds the explanation to real sessions.
func TestExplainIsWhatASessionGets(t *testing.T) {
	w := start(t, nil)
	for _, q := range []struct {
		connector, user, from, to string
	}{
		{"apps", "", "x@elsewhere.test", "y@elsewhere.test"},
		{"apps", "", "", "nobody@example.test"},
		{"in", "", "x@elsewhere.test", "y@elsewhere.test"},
		{"in", "", "x@elsewhere.test", "alice@example.test"},
		{"in", "", "x@elsewhere.test", "nobody@internal.test"},
		{"users", "", "x@elsewhere.test", "y@elsewhere.test"},
		{"users", "app@example.test", "x@elsewhere.test", "y@elsewhere.test"},
		{"users", "app@example.test", "app@example.test", "y@elsewhere.test"},
		{"users", "app@example.test", "app@example.test", "nobody@example.test"},
	} {
		local := w.relay.Addrs(q.connector)[0]
		e, err := w.relay.Explain(t.Context(), relay.ExplainQuery{
			Local: local, Remote: netip.MustParseAddrPort("127.0.0.1:1"), User: q.user,
			From: q.from, To: q.to,
		})
		if err != nil {
			t.Fatal(err)
		}
		if e.Connector != q.connector {
			t.Errorf("%+v: connector %q", q, e.Connector)
		}
		var a smtp.Auth
		if q.user != "" {
			a = plain{q.user, "secret"}
		}
		err = send(local.String(), a, q.from, q.to)
		last := e.Replies[len(e.Replies)-1]
		switch {
		case err == nil && e.Refused():
			t.Errorf("%+v: accepted, explained as %+v", q, last)
		case err != nil &&
			(!e.Refused() || code(err) != last.Code || !strings.Contains(
				err.Error(), last.Enhanced,
			)):
			t.Errorf("%+v: refused with %v, explained as %+v", q, err, last)
		}
	}
}

func TestExplainFaults(t *testing.T) {
	w := start(t, nil)
	_, err := w.relay.Explain(t.Context(), relay.ExplainQuery{From: "a@b@c", To: "nothing"})
	for _, want := range []string{"Local:", "Remote:", "From:", "To:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	e, err := w.relay.Explain(t.Context(), relay.ExplainQuery{
		Local:  netip.MustParseAddrPort("127.0.0.1:1"),
		Remote: netip.MustParseAddrPort("127.0.0.1:1"),
	})
	if err != nil || e.Connector != "" || !e.Refused() || len(e.Candidates) != 3 {
		t.Errorf("%+v, %v", e, err)
	}
}
