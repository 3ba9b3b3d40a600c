package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// damageContent flips a bit in the middle of a message, or removes its file.
func damageContent(t *testing.T, dir, id string, gone bool) {
	t.Helper()
	name, at := filepath.Join(dir, "files", id), 150_000
	if gone {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(name)
	if err != nil {
		name = filepath.Join(dir, "0000000001.log")
		if b, err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
		at = bytes.Index(b, []byte("This is the body"))
	}
	b[at] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedMessage damages a message in the queue, on the disk, and has every
// kind of next hop be tried: none takes it for whole, and its sender gets a
// report without the original.
func TestDamagedMessage(t *testing.T) {
	type hop struct {
		route func(t *testing.T, cfg *relay.Config) (arrived func() string)
	}
	smtp := func(lmtp bool) hop {
		return hop{func(t *testing.T, cfg *relay.Config) func() string {
			s := sinkFor(t, nil)
			s.lmtp = lmtp
			cfg.Transport = delivery.SMTP(connector.NextHop{Hosts: []string{s.addr()}, LMTP: lmtp})
			return func() string {
				select {
				case m := <-s.mail:
					return m.content
				default:
					return ""
				}
			}
		}}
	}
	hops := map[string]hop{
		"SMTP": smtp(false),
		"LMTP": smtp(true),
		"Maildir": {func(t *testing.T, cfg *relay.Config) func() string {
			dir := t.TempDir()
			cfg.Transport = delivery.Maildir(dir)
			return func() string { return strings.Join(files(t, dir), " ") }
		}},
		"Mailbox": {func(_ *testing.T, cfg *relay.Config) func() string {
			var whole string
			cfg.Transport = delivery.Mailbox(func(
				ctx context.Context, _ domains.Address, a *delivery.Attempt,
			) error {
				r, err := a.Open(ctx)
				if err != nil {
					return fmt.Errorf("open: %w", err)
				}
				defer r.Close()
				b, err := io.ReadAll(r)
				if err == nil {
					whole = string(b)
				}
				return err
			})
			return func() string { return whole }
		}},
	}
	for name, h := range hops {
		for _, damage := range []string{"short", "long", "gone"} {
			for _, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%v", name, damage, restart), func(t *testing.T) {
					damagedMessage(t, h.route, damage, restart)
				})
			}
		}
	}
}

func damagedMessage(
	t *testing.T, route func(*testing.T, *relay.Config) func() string, damage string, restart bool,
) {
	dir := t.TempDir()
	said := new(logs)
	open := func() *filespool.Store {
		s, err := filespool.Open(dir, &filespool.Options{Logger: said.logger()})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	body := "This is the body\r\n"
	if damage != "short" {
		body = strings.Repeat(body, 20_000)
	}
	store := open()
	r := idle(t, func(c *relay.Config) { c.Spool = store })
	receipt, err := r.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"x@elsewhere.test", "y@elsewhere.test"},
		Content: strings.NewReader("Subject: the original\r\n\r\n" + body),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if restart {
		store.Close()
	}
	damageContent(t, dir, receipt.QueueID, damage == "gone")
	if restart {
		store = open()
	}
	defer store.Close()
	cfg, w := config()
	cfg.Spool, cfg.Logger = store, said.logger()
	arrived := route(t, &cfg)
	running := run(t, cfg)
	for _, to := range []string{"x@elsewhere.test", "y@elsewhere.test"} {
		e := w.events.wait(t, func(e event.Event) bool {
			return e.Kind == event.Bounced && e.To[0] == to
		})
		if e.Report == "" || e.Enhanced != "5.3.0" || e.Code != 0 || e.QueueID != receipt.QueueID {
			t.Errorf("event %s, report %q", show([]event.Event{e}), e.Report)
		}
	}
	report := w.mailboxes.wait(t, 1)[0]
	if report.from != "" || report.to != "app@example.test" ||
		!strings.Contains(report.content, "\r\nStatus: 5.3.0\r\n") ||
		!strings.Contains(report.content, "x@elsewhere.test") ||
		strings.Contains(report.content, "the original") {
		t.Errorf("report %+v", report)
	}
	if got := arrived(); got != "" {
		t.Errorf("arrived: %.200q", got)
	}
	if !strings.Contains(said.String(), receipt.QueueID) {
		t.Errorf("log %q", said)
	}
	running.Close()
	if st, err := store.Stats(t.Context()); err != nil || st.Messages != 0 {
		t.Errorf("stats %+v, %v", st, err)
	}
}

// unreadable is a store whose contents fail as they are told.
type unreadable struct {
	spool.Store
	open func(id spool.ID) error
	read func(id spool.ID) error // behind some of the content
}

func (u *unreadable) Open(ctx context.Context, id spool.ID) (io.ReadCloser, error) {
	if u.open != nil {
		if err := u.open(id); err != nil {
			return nil, err
		}
	}
	r, err := u.Store.Open(ctx, id)
	if err != nil || u.read == nil || u.read(id) == nil {
		return r, err
	}
	broken := io.MultiReader(io.LimitReader(r, 10), readFails{u.read(id)})
	return struct {
		io.Reader
		io.Closer
	}{broken, r}, nil
}

type readFails struct{ err error }

func (f readFails) Read([]byte) (int, error) { return 0, f.err }

// TestUnreadableForNow has content fail to be read for a while by what may
// pass: nothing is bounced.
func TestUnreadableForNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		began := time.Now()
		fault := func(spool.ID) error {
			if time.Since(began) < 3*time.Hour {
				return errors.New("input/output error")
			}
			return nil
		}
		for _, u := range []*unreadable{{open: fault}, {read: fault}} {
			began = time.Now()
			out, events := newCapture(), new(record)
			u.Store = memspool.New(nil)
			cfg := local(newCapture(), out)
			cfg.Spool, cfg.Events = u, events.add
			r := run(t, cfg)
			submit(t, r, "app@example.test", "x@elsewhere.test")
			time.Sleep(12 * time.Hour)
			synctest.Wait()
			if len(events.all(event.Bounced, event.Expired)) != 0 || len(out.got) != 1 {
				t.Errorf("%d arrived, events %s", len(out.got), show(events.all(event.Bounced)))
			}
		}
	})
}

// TestOriginalUnreadable has recipients fail for good, or until they expire,
// while the original cannot be read for the report.
func TestOriginalUnreadable(t *testing.T) {
	refused := relay.Reject(550, "5.1.1", "No such user")
	for name, c := range map[string]struct {
		cause, answer error
		want          event.Kind
		after         time.Duration
		reads         int // failing
	}{
		"Damaged":  {spool.ErrDamaged, refused, event.Bounced, time.Minute, 1 << 30},
		"NotFound": {spool.ErrNotFound, refused, event.Bounced, time.Minute, 1 << 30},
		"Passing":  {errSecret, refused, event.Bounced, time.Minute, 2},
		"Stays":    {errSecret, refused, event.Bounced, 72 * time.Hour, 1 << 30},
		"Expires": {
			errSecret, relay.Defer(450, "4.2.0", "later"), event.Expired, 72 * time.Hour, 1 << 30,
		},
	} {
		for _, opening := range []bool{true, false} {
			t.Run(fmt.Sprint(name, opening), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					in, events := newCapture(), new(record)
					var original string
					reads := 0
					fault := func(id spool.ID) error {
						if id.String() != original {
							return nil
						}
						if reads++; reads > c.reads {
							return nil
						}
						return c.cause
					}
					u := &unreadable{Store: memspool.New(nil), open: fault}
					if !opening {
						u.open, u.read = nil, fault
					}
					cfg := local(in, delivery.Mailbox(func(
						context.Context, domains.Address, *delivery.Attempt,
					) error {
						return c.answer
					}))
					cfg.Spool, cfg.Events = u, events.add
					cfg.Retry.DelayNotification = -1
					r := idle(t, func(cfg *relay.Config) { cfg.Spool = u })
					original = submit(t, r, "app@example.test", "x@elsewhere.test")
					run(t, cfg)
					time.Sleep(c.after)
					synctest.Wait()
					got := events.all(c.want)
					if len(got) != 1 || got[0].Report == "" || len(in.got) != 1 {
						t.Fatalf("%d reports, events %s", len(in.got), show(events.all()))
					}
					whole := strings.Contains(in.got[0].content, "Subject: hello")
					if whole != (name == "Passing") {
						t.Errorf("report %q", in.got[0].content)
					}
				})
			})
		}
	}
}

// lossy is a store that cannot read the envelopes of what it leases.
type lossy struct{ spool.Store }

func (l lossy) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	got, err := l.Store.Lease(ctx, r)
	for i := range got.Leases {
		v := &got.Leases[i]
		v.Damaged = fmt.Errorf("%w: a file at 7", spool.ErrDamaged)
		v.Message = spool.Message{ID: v.Message.ID}
		v.Delivery.Recipients = nil
	}
	return got, err
}

// TestEnvelopeLost ends what nobody knows any more whom it was for, with an
// event and a line in the log.
func TestEnvelopeLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		out, events, said := newCapture(), new(record), new(logs)
		cfg := local(newCapture(), out)
		cfg.Spool, cfg.Events = lossy{memspool.New(nil)}, events.add
		cfg.Logger = said.logger()
		r := run(t, cfg)
		id := submit(t, r, "app@example.test", "x@elsewhere.test")
		time.Sleep(time.Hour)
		synctest.Wait()
		got := events.all(event.Removed)
		if len(got) != 1 || got[0].QueueID != id || got[0].Enhanced != "5.3.0" ||
			!strings.Contains(got[0].Text, "a file at 7") {
			t.Errorf("events %s", show(got))
		}
		if !strings.Contains(said.String(), id) || !strings.Contains(said.String(), "a file at 7") {
			t.Errorf("log %s", said)
		}
		if st, err := r.Stats(t.Context()); err != nil || st.Messages != 0 || len(out.got) != 0 {
			t.Errorf("stats %+v, %v; %d arrived", st, err, len(out.got))
		}
	})
}

// TestDamagedReport damages a message without a sender: there is an event, and
// nobody gets a report.
func TestDamagedReport(t *testing.T) {
	bubble(t, func(t *testing.T) {
		in, events := newCapture(), new(record)
		cfg := local(in, newCapture())
		cfg.Events = events.add
		cfg.Spool = &unreadable{
			Store: memspool.New(nil), read: func(spool.ID) error { return spool.ErrDamaged },
		}
		r := run(t, cfg)
		submit(t, r, "", "x@elsewhere.test")
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		got := events.all(event.Bounced)
		if len(got) != 1 || got[0].Report != "" || got[0].Enhanced != "5.3.0" || len(in.got) != 0 {
			t.Errorf("%d reports, events %s", len(in.got), show(events.all()))
		}
		if st, err := r.Stats(t.Context()); err != nil || st.Messages != 0 {
			t.Errorf("stats %+v, %v", st, err)
		}
	})
}
