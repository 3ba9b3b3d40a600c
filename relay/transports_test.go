package relay_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// byAPI is a send connector that names a transport.
func byAPI(name, space string) *connector.SendConnector {
	return &connector.SendConnector{
		Name: name, AddressSpaces: []connector.AddressSpace{{Domain: space}}, Transport: "api",
	}
}

// TestSendConnectorNamesTransport gives one domain to a transport of the
// application and the rest to a smart host, each by a send connector.
func TestSendConnectorNamesTransport(t *testing.T) {
	s, api := sinkFor(t, nil), newCapture()
	w := start(t, func(c *relay.Config) {
		c.Transport = nil
		c.Transports = map[string]delivery.Transport{"api": api}
		c.SendConnectors = []*connector.SendConnector{
			byAPI("service", "a.test"), smart("out", "*", s.addr()),
		}
	})
	submit(t, w.relay, "app@example.test", "x@a.test", "y@b.test")
	if got := api.wait(t, 1); got[0].to != "x@a.test" {
		t.Errorf("the service was given %v", got)
	}
	if got := <-s.mail; !slices.Equal(got.to, []string{"y@b.test"}) {
		t.Errorf("the smart host was given %v", got.to)
	}
}

// TestTransportFaults finds transports that would never be used, and names of
// transports that are not there.
func TestTransportFaults(t *testing.T) {
	broken := delivery.SMTP(connector.NextHop{Hosts: []string{"a.test", ""}})
	for _, tt := range []struct {
		fault string
		cfg   relay.Config
	}{
		{"Transport: SendConnectors are set too", relay.Config{
			Transport:      newCapture(),
			SendConnectors: []*connector.SendConnector{smart("out", "*", "a.test")},
		}},
		{`SendConnectors[0].Transport: Transports has no entry "api"`, relay.Config{
			SendConnectors: []*connector.SendConnector{byAPI("service", "*")},
		}},
		{`Transports["api"]: `, relay.Config{
			Transports: map[string]delivery.Transport{"api": nil},
		}},
		{`Transports["api"]: `, relay.Config{
			Transports: map[string]delivery.Transport{"api": delivery.Mailbox(nil)},
		}},
		{`Transports["api"].Hosts[1]: `, relay.Config{
			Transports: map[string]delivery.Transport{"api": broken},
		}},
	} {
		tt.cfg.Hostname, tt.cfg.Spool = "relay.example.test", memspool.New(nil)
		_, err := relay.New(tt.cfg)
		if err == nil || !strings.Contains(err.Error(), "\n  "+tt.fault) {
			t.Errorf("%v, want %s", err, tt.fault)
		}
	}
}

// TestReportOfWrappedSMTP has mailboxes behind SMTP, behind middleware: the
// sender who asked hears that the message was passed on, not that it arrived.
func TestReportOfWrappedSMTP(t *testing.T) {
	for _, tt := range []struct {
		lmtp   bool
		action string
	}{{false, "relayed"}, {true, "delivered"}} {
		s := passive(t, false, tt.lmtp, true)
		of := delivery.SMTP(connector.NextHop{Hosts: []string{s.addr()}, LMTP: tt.lmtp})
		w := start(t, func(c *relay.Config) {
			c.Mailboxes = delivery.TransportFunc(
				func(ctx context.Context, a *delivery.Attempt) []delivery.Result {
					return of.Deliver(ctx, a)
				})
		})
		ask(t, w.relay, spool.NotifySuccess, "app@elsewhere.test", "alice@example.test")
		report := w.out.wait(t, 1)[0].content
		if got := actions(report); got != tt.action+" alice@example.test 2.0.0" {
			t.Errorf("LMTP %v: %s", tt.lmtp, got)
		}
	}
}

// TestDrainWithHalfOfTheResults ends a relay while a transport has served the
// first of two recipients: it returns what it has, and the next process serves
// the other one alone.
func TestDrainWithHalfOfTheResults(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := memspool.New(nil)
		cfg := relay.Config{
			Hostname: "relay.example.test", Spool: store, DrainTimeout: time.Second,
			Transport: delivery.TransportFunc(
				func(ctx context.Context, a *delivery.Attempt) []delivery.Result {
					results := make([]delivery.Result, len(a.Recipients))
					results[0] = delivery.Taken("", delivery.Reply{})
					<-ctx.Done()
					return results
				}),
		}
		first, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() { _ = first.Run(ctx) })
		submit(t, first, "app@example.test", "x@elsewhere.test", "y@elsewhere.test")
		synctest.Wait()
		stop()
		ended.Wait()

		var mu sync.Mutex
		var got []string
		cfg.Transport = delivery.TransportFunc(
			func(_ context.Context, a *delivery.Attempt) []delivery.Result {
				mu.Lock()
				defer mu.Unlock()
				for _, rcpt := range a.Recipients {
					got = append(got, rcpt.Address)
				}
				return a.All(delivery.Taken("", delivery.Reply{}))
			})
		run(t, cfg)
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(got, []string{"y@elsewhere.test"}) {
			t.Errorf("the second process was given %q", got)
		}
	})
}

// TestPermanentIsSaid bounces at once what a transport's error says is final,
// and nothing else.
func TestPermanentIsSaid(t *testing.T) {
	for name, tt := range map[string]struct {
		res  delivery.Result
		kind event.Kind
	}{
		"Reject":    {delivery.Failed(relay.Reject(550, "5.1.1", "No")), event.Bounced},
		"Permanent": {delivery.Failed(&delivery.Error{Permanent: true}), event.Bounced},
		"Error":     {delivery.Failed(&delivery.Error{}), event.Deferred},
		"any other": {delivery.Failed(errSecret), event.Deferred},
		"zero":      {delivery.Result{}, event.Deferred},
		"yes and no": {
			delivery.Result{Delivered: true, Err: relay.Reject(550, "5.1.1", "No")},
			event.Deferred,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				told := new(record)
				cfg := local(nil, answering(false, tt.res))
				cfg.AcceptedDomains = []domains.AcceptedDomain{}
				cfg.Events = told.add
				r := run(t, cfg)
				submit(t, r, "", "x@elsewhere.test")
				synctest.Wait()
				if got := told.all(tt.kind); len(got) != 1 {
					t.Errorf("events %s", show(told.all()))
				}
			})
		})
	}
}

// TestReportsAreNotTheSendersMail follows the events of a bounce: they name the
// message that it is about, and have none of its labels.
func TestReportsAreNotTheSendersMail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		told := new(record)
		out := delivery.Failed(relay.Reject(550, "5.1.1", "No"))
		cfg := local(newCapture(), answering(false, out))
		cfg.Events = told.add
		r := run(t, cfg)
		receipt, err := r.Submit(t.Context(), &relay.Message{
			From: "alice@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(text), Labels: map[string]string{"order": "1042"},
			Stream: "orders",
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		kinds := ""
		for _, e := range told.all() {
			if e.QueueID == receipt.QueueID {
				continue
			}
			kinds += string(e.Kind) + " "
			if e.ReportOf != receipt.QueueID || len(e.Labels) > 0 || e.Size == 0 ||
				e.Stream != "orders" {
				t.Errorf("event of the report: %+v", e)
			}
		}
		if kinds != "accepted attempted delivered " {
			t.Errorf("events of the report: %s", kinds)
		}
	})
}
