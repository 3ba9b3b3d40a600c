package routing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// taking is a transport that takes everything and says by its name who did.
type taking string

func (s taking) Deliver(_ context.Context, a *delivery.Attempt) []delivery.Result {
	return a.All(delivery.Taken(string(s), delivery.Reply{}))
}

// routes are those of send connectors, for example.test with mailboxes.
func routes(t *testing.T, change func(*routing.Config)) *routing.Routes {
	t.Helper()
	table, err := domains.NewTable(domains.AcceptedDomain{
		Domain: "example.test", Type: domains.Authoritative,
		Recipients: domains.StaticRecipients("alice"),
	})
	if err != nil {
		t.Fatal(err)
	}
	space := func(domain string) []connector.AddressSpace {
		return []connector.AddressSpace{{Domain: domain}}
	}
	cfg := routing.Config{
		Mailboxes:  taking("mailboxes"),
		Transports: map[string]delivery.Transport{"api": taking("api")},
		SendConnectors: []*connector.SendConnector{
			{Name: "smart", AddressSpaces: space("smart.test"),
				NextHop: connector.NextHop{Hosts: []string{"192.0.2.1"}}},
			{Name: "world", AddressSpaces: space("*.mx.test")},
			{Name: "service", AddressSpaces: space("api.test"), Transport: "api"},
			{Name: "small", AddressSpaces: space("small.test"), MaxMessageBytes: 10},
		},
		Rules: policy.New(policy.Rules{
			Table: table, Recipients: policy.NewCalls(nil, time.Second),
		}),
	}
	if change != nil {
		change(&cfg)
	}
	if cfg.SendSet, err = connector.NewSendSet(cfg.SendConnectors...); err != nil {
		t.Fatal(err)
	}
	return routing.New(cfg)
}

// TestKeyOf routes addresses by what is known of them.
func TestKeyOf(t *testing.T) {
	plain := routes(t, nil)
	own := routes(t, func(c *routing.Config) {
		c.SendConnectors, c.Transport = nil, taking("transport")
	})
	for _, tt := range []struct {
		r         *routing.Routes
		placement policy.Placement
		to        string
		size      int64
		want      string
	}{
		{plain, policy.InMailbox, "alice@example.test", 1, "mailbox"},
		{plain, policy.Unresolved, "alice@example.test", 1, "resolve"},
		{plain, policy.Unknown, "who@example.test", 1, "resolve"},
		{plain, policy.Outward, "x@smart.test", 1, "send/smart"},
		{plain, policy.Outward, "x@a.mx.test", 1, "mx/a.mx.test/world"},
		{plain, policy.Outward, "x@api.test", 1, "send/service"},
		{plain, policy.Outward, "x@small.test", 10, "mx/small.test/small"},
		{plain, policy.Outward, "x@small.test", 11, "toolarge"},
		{plain, policy.Outward, "x@nowhere.test", 1, "unreachable"},
		{own, policy.Outward, "x@nowhere.test", 1, "transport"},
		{own, policy.InMailbox, "alice@example.test", 1, "mailbox"},
	} {
		k := tt.r.KeyOf(tt.placement, domains.MustParse(tt.to), tt.size)
		if got := routing.Describe(k); got != tt.want || k.Stream != "" {
			t.Errorf("%s: %q, want %q", tt.to, got, tt.want)
		}
		if (k.Domain != "") != strings.HasPrefix(k.Route, "mx/") {
			t.Errorf("%s: domain in %+v", tt.to, k)
		}
	}
}

// TestStaleKeys delivers by keys that lead nowhere any more: each recipient is
// routed anew, and what has no route fails for now or for good.
func TestStaleKeys(t *testing.T) {
	r := routes(t, nil)
	rcpts := []string{
		"alice@example.test", "who@example.test", "x@api.test", "x@nowhere.test",
		"x@small.test", "no address",
	}
	want := []string{
		"mailboxes", "5.1.1", "api", "4.4.4", "5.3.4", "5.1.3",
	}
	for _, k := range []spool.Key{
		{Route: "resolve"}, {Route: "unreachable"}, {Route: "toolarge"}, {Route: "transport"},
		{Route: "send/gone"}, {Route: "send/world"}, {Route: "mx/smart", Domain: "smart.test"},
		{Route: "mx/world"}, {},
	} {
		a := &delivery.Attempt{Message: spool.Message{Size: 11}}
		for _, to := range rcpts {
			a.Recipients = append(a.Recipients, spool.Recipient{Address: to})
		}
		lent := r.Lend()
		var got []string
		for i, res := range r.Deliver(t.Context(), k, lent, a) {
			if e, ok := errors.AsType[*delivery.Error](res.Err); ok {
				if e.Permanent != (e.Reply.Enhanced[0] == '5') {
					t.Errorf("%v: %+v", k, e)
				}
				got = append(got, e.Reply.Enhanced)
				continue
			}
			got = append(got, res.Host)
			if lent.IsFinal(rcpts[i]) != (res.Host == "mailboxes") {
				t.Errorf("%v: %s is final: %v", k, rcpts[i], !lent.IsFinal(rcpts[i]))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: %q, want %q", k, got, want)
		}
	}
}

// TestFewResults counts what a transport leaves out as not taken.
func TestFewResults(t *testing.T) {
	for _, n := range []int{0, 1, 3} {
		r := routes(t, func(c *routing.Config) {
			c.Mailboxes = delivery.TransportFunc(
				func(context.Context, *delivery.Attempt) []delivery.Result {
					list := make([]delivery.Result, n)
					for i := range list {
						list[i].Delivered = true
					}
					return list
				})
		})
		a := &delivery.Attempt{Recipients: make([]spool.Recipient, 2)}
		got := r.Deliver(t.Context(), spool.Key{Route: "mailbox"}, r.Lend(), a)
		if len(got) != 2 || got[0].OK() != (n > 0) || got[1].OK() != (n > 1) {
			t.Errorf("%d results: %+v", n, got)
		}
	}
}

// TestDistinct merges those named twice, in whatever spelling, with all that
// was asked for them.
func TestDistinct(t *testing.T) {
	rcpt := func(to string, n spool.Notify, original string) routing.Recipient {
		return routing.Recipient{To: domains.MustParse(to), Notify: n, Original: original}
	}
	got := routing.Distinct([]routing.Recipient{
		rcpt("a@x.test", spool.NotifyNever, ""),
		rcpt("b@x.test", 0, ""),
		rcpt("A@X.test", spool.NotifySuccess, "rfc822;a@x.test"),
		rcpt("b@x.test", spool.NotifySuccess, ""),
		rcpt("a@x.test", spool.NotifyNever, "rfc822;other@x.test"),
	})
	if len(got) != 2 || got[0].Notify != spool.NotifySuccess ||
		got[0].Original != "rfc822;a@x.test" ||
		got[1].Notify != spool.NotifySuccess|spool.NotifyFailure|spool.NotifyDelay {
		t.Errorf("%+v", got)
	}
}

// TestDeliveriesByKey makes one delivery of those who go the same way.
func TestDeliveriesByKey(t *testing.T) {
	now := time.Now()
	var rcpts []routing.Recipient
	for _, to := range []string{"a@smart.test", "b@a.mx.test", "c@smart.test", "d@b.mx.test"} {
		rcpts = append(rcpts, routing.Recipient{To: domains.MustParse(to)})
	}
	list := routes(t, nil).Deliveries(rcpts, "orders", 1, now, time.Hour)
	var got []string
	for _, d := range list {
		if d.Key.Stream != "orders" || !d.Due.IsZero() || !d.Expires.Equal(now.Add(time.Hour)) {
			t.Errorf("%+v", d)
		}
		s := routing.Describe(d.Key)
		for _, rcpt := range d.Recipients {
			s += " " + rcpt.Address
		}
		got = append(got, s)
	}
	want := []string{
		"send/smart a@smart.test c@smart.test", "mx/a.mx.test/world b@a.mx.test",
		"mx/b.mx.test/world d@b.mx.test",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestDeliveriesAreBounded takes very many recipients: no delivery has more
// than a thousand, and they take the memory that they need.
func TestDeliveriesAreBounded(t *testing.T) {
	r := routes(t, nil)
	for name, domain := range map[string]string{"one": "smart.test", "many": "d%d.mx.test"} {
		var rcpts []routing.Recipient
		for i := range 5500 {
			to := fmt.Sprintf("x%d@"+strings.ReplaceAll(domain, "%d", fmt.Sprint(i)), i)
			rcpts = append(rcpts, routing.Recipient{To: domains.MustParse(to)})
		}
		list, n, room := r.Deliveries(rcpts, "", 1, time.Now(), time.Hour), 0, 0
		for _, d := range list {
			if len(d.Recipients) == 0 || len(d.Recipients) > 1000 {
				t.Errorf("%s: %d recipients in a delivery", name, len(d.Recipients))
			}
			n, room = n+len(d.Recipients), room+cap(d.Recipients)
		}
		if n != len(rcpts) || room > 4*n || name == "one" && len(list) != 6 {
			t.Errorf("%s: %d recipients in %d deliveries, with room for %d",
				name, n, len(list), room)
		}
	}
}

// TestConnectorOf reads the send connector back from a key.
func TestConnectorOf(t *testing.T) {
	for k, want := range map[spool.Key]string{
		{Route: "send/out"}:                    "out",
		{Route: "mx/a/b", Domain: "x.test"}:    "a/b",
		{Route: "mailbox"}:                     "",
		{Route: "send"}:                        "",
		{Route: "unreachable", Stream: "news"}: "",
	} {
		if got := routing.ConnectorOf(k); got != want {
			t.Errorf("%+v: %q, want %q", k, got, want)
		}
	}
}
