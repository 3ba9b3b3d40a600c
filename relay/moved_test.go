package relay_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/spoolmove"
)

// TestReportsAfterAMove moves a queue with the report about one delivery of a
// message and the other delivery, which gets the number of the first: it is
// reported all the same.
func TestReportsAfterAMove(t *testing.T) {
	bubble(t, func(t *testing.T) {
		began, box := time.Now(), newCapture()
		box.reply = func(string) error {
			if time.Since(began) < 2*time.Hour {
				return relay.Defer(451, "4.2.1", "Later")
			}
			return nil
		}
		refuse := delivery.Mailbox(
			func(context.Context, domains.Address, *delivery.Attempt) error {
				return relay.Reject(550, "5.1.1", "No such user")
			})
		old, target := memspool.New(nil), memspool.New(nil)
		cfg := local(box, refuse)
		cfg.Spool = old
		id := submitPair(t, cfg, old)
		r := run(t, cfg)
		time.Sleep(time.Minute)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		n, err := spoolmove.Move(t.Context(), old, target, nil)
		if err != nil || n.Messages != 2 {
			t.Fatalf("moved %+v, %v", n, err)
		}
		release(t, target, spool.DeliveryID{Message: id})
		cfg.Spool = target
		run(t, cfg)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(box.got) != 2 {
			t.Errorf("%d reports, want 2", len(box.got))
		}
	})
}

// submitPair queues a message of two deliveries, the second on hold.
func submitPair(t *testing.T, cfg relay.Config, s *memspool.Store) spool.ID {
	t.Helper()
	cfg.Hostname = "relay.example.test"
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pair := committer(func(ctx context.Context, p *spool.Prepared) error {
		d := p.Commit.Deliveries[0]
		d.Held, d.Recipients = true, []spool.Recipient{{Address: "b@elsewhere.test"}}
		p.Commit.Deliveries = append(p.Commit.Deliveries, d)
		return s.Commit(ctx, p)
	})
	m := &relay.Message{
		From: "app@example.test", To: []string{"a@elsewhere.test"},
		Content: strings.NewReader(text),
	}
	receipt, err := r.SubmitIn(t.Context(), pair, m)
	if err != nil {
		t.Fatal(err)
	}
	id, err := spool.ParseID(receipt.QueueID)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

type committer func(context.Context, *spool.Prepared) error

func (c committer) Commit(ctx context.Context, p *spool.Prepared) error { return c(ctx, p) }

func release(t *testing.T, s *memspool.Store, id spool.DeliveryID) {
	t.Helper()
	l, err := s.Take(t.Context(), id, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context(), spool.Settlement{
		ID: id, Token: l.Token, Remaining: l.Delivery.Recipients,
	}); err != nil {
		t.Fatal(err)
	}
}
