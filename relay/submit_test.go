package relay_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func anybody() domains.Resolver { return domains.AnyRecipient() }

// idle makes a relay that is not run.
func idle(t *testing.T, change func(*relay.Config)) *relay.Relay {
	t.Helper()
	cfg, _ := config()
	cfg.Events = nil
	if change != nil {
		change(&cfg)
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestSubmitLineEndings submits lines that end in every way.
func TestSubmitLineEndings(t *testing.T) {
	r := idle(t, nil)
	for in, want := range map[string]string{
		"Subject: x\n\na\nb\n":                 "Subject: x\r\n\r\na\r\nb\r\n",
		"Subject: x\r\n\r\na\r\nb\r\n":         "Subject: x\r\n\r\na\r\nb\r\n",
		"Subject: x\r\n\r\na\rb\r\n":           "Subject: x\r\n\r\na\r\nb\r\n",
		"Subject: x\n\na\n\n\r\r\n":            "Subject: x\r\n\r\na\r\n\r\n\r\n\r\n",
		"Subject: x\n\nno end":                 "Subject: x\r\n\r\nno end",
		"Subject: x\n\nlast is CR\r":           "Subject: x\r\n\r\nlast is CR\r\n",
		"Subject: x\n\n.\n..\n.dot\n":          "Subject: x\r\n\r\n.\r\n..\r\n.dot\r\n",
		"Subject: x\n\n\xff\xfe\x80 8bit \x01": "Subject: x\r\n\r\n\xff\xfe\x80 8bit \x01",
		"only a body":                          "only a body",
		"Content-Type: multipart/a; boundary=b\n\n--b\n\nX-A: y\rz\n--b--\rend\n": "" +
			"--b\r\n\r\nX-A: y\r\nz\r\n--b--\r\nend\r\n",
		"only a\rbody\nof two\rlines": "\r\nonly a\r\nbody\r\nof two\r\nlines",
		"From me\rto you\n":           "\r\nFrom me\r\nto you\r\n",
		"":                            "\r\n",
	} {
		for name, content := range map[string]io.Reader{
			"whole": strings.NewReader(in), "octets": iotest.OneByteReader(strings.NewReader(in)),
		} {
			p, err := prepare(t.Context(), r,
				&relay.Message{
					From: "app@example.test", To: []string{"x@elsewhere.test"}, Content: content,
				},
			)
			if err != nil {
				t.Fatalf("%q: %v", in, err)
			}
			if got := string(p.Content); !strings.HasSuffix(got, want) {
				t.Errorf("%q by %s became %q, want %q", in, name, got, want)
			}
		}
	}
}

// TestSubmitRefusals holds every refusal of Submit to its type, and to leaving
// nothing behind.
func TestSubmitRefusals(t *testing.T) {
	ok := func() *relay.Message {
		return &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(text),
		}
	}
	someone := &auth.Identity{User: "app@example.test", Senders: []string{"*@news.test"}}
	reply := func(want string) func(error) bool {
		return func(err error) bool {
			r, ok := errors.AsType[*relay.ReplyError](err)
			return ok && strings.HasPrefix(r.Error(), want)
		}
	}
	says := func(want string) func(error) bool {
		return func(err error) bool { return strings.Contains(err.Error(), want) }
	}
	broken := errors.New("broken")
	for _, tt := range []struct {
		name   string
		change func(*relay.Message)
		want   func(error) bool
	}{
		{"no recipient", func(m *relay.Message) { m.To = nil }, says("at least one recipient")},
		{"no content", func(m *relay.Message) { m.Content = nil }, says("needs content")},
		{"bad sender", func(m *relay.Message) {
			m.From = "a b"
		}, func(err error) bool { return errors.Is(err, domains.ErrAddress) }},
		{"sender with a line break", func(m *relay.Message) {
			m.From = "a@b.test>\r\nRCPT TO:<c@d.test"
		}, func(err error) bool { return errors.Is(err, domains.ErrAddress) }},
		{"bad recipient", func(m *relay.Message) {
			m.To = append(m.To, "a b")
		}, func(err error) bool {
			e, ok := errors.AsType[*relay.RecipientError](err)
			return ok && e.Recipient == "a b" && errors.Is(err, domains.ErrAddress)
		}},
		{"empty recipient", func(m *relay.Message) { m.To = []string{""} }, func(err error) bool {
			_, ok := errors.AsType[*relay.RecipientError](err)
			return ok
		}},
		{"unknown recipient", func(m *relay.Message) {
			m.To = append(m.To, "nobody@example.test")
		}, reply("550 5.1.1")},
		{"bad RET", func(m *relay.Message) { m.Return = "ALL" }, says("Return")},
		{"bad ENVID", func(m *relay.Message) { m.EnvelopeID = "a\r\nb" }, says("EnvelopeID")},
		{"long ENVID", func(m *relay.Message) {
			m.EnvelopeID = strings.Repeat("x", 101)
		}, says("EnvelopeID")},
		{"NUL in the body",
			func(m *relay.Message) { m.Content = strings.NewReader("Subject: x\n\na\x00b\n") },
			reply("550 5.6.11 NUL")},
		{"NUL in the header",
			func(m *relay.Message) { m.Content = strings.NewReader("Subject: \x00\n\nb\n") },
			reply("550 5.6.11")},
		{"CR on its own in the header", func(m *relay.Message) {
			m.Content = strings.NewReader("X-A: y\rFrom: ceo@example.test\r\n\r\nb\r\n")
		}, reply("550 5.6.11")},
		{"CR on its own before the end of the header", func(m *relay.Message) {
			m.Content = strings.NewReader("Subject: x\n\r\rb\n")
		}, reply("550 5.6.11")},
		{"header of CR alone", func(m *relay.Message) {
			m.Content = strings.NewReader("Subject: x\r\rb\r")
		}, reply("550 5.6.11")},
		{"CR on its own in the header of a part", func(m *relay.Message) {
			m.Content = strings.NewReader("Content-Type: multipart/mixed; boundary=b\n\n" +
				"--b\nX-A: y\rContent-Type: text/html\n\nhi\n--b--\n")
		}, reply("550 5.6.11")},
		{"CR on its own in the header of a message inside", func(m *relay.Message) {
			m.Content = strings.NewReader("Content-Type: message/rfc822\n\nX-A: y\rX-B: z\n\nhi\n")
		}, reply("550 5.6.11")},
		{"two From fields", func(m *relay.Message) {
			m.Content = strings.NewReader("From: app@example.test\nFrom\n : ceo@x.test\n\nb\n")
		}, reply("550 5.6.0")},
		{"NUL far down", func(m *relay.Message) {
			m.Content = strings.NewReader(
				"Subject: x\n\n" + strings.Repeat("line\n", 10000) + "\x00",
			)
		}, says("NUL")},
		{"broken reader", func(m *relay.Message) {
			m.Content = &failing{"Subject: x\n\nhalf", broken}
		}, func(err error) bool { return errors.Is(err, broken) }},
		{"broken header", func(m *relay.Message) {
			m.Content = &failing{"Subject: x", broken}
		}, func(err error) bool { return errors.Is(err, broken) }},
		{"header too large", func(m *relay.Message) {
			m.Content = strings.NewReader(
				strings.Repeat("Subject: "+strings.Repeat("x", 900)+"\n", 400),
			)
		}, reply("552 5.3.4")},
		{"envelope sender of another", func(m *relay.Message) {
			m.Identity, m.From = someone, "ceo@example.test"
		}, reply("550 5.7.60")},
		{"From field of another", func(m *relay.Message) {
			m.Identity, m.Content = someone, strings.NewReader("From: ceo@example.test\n\n")
		}, reply("550 5.7.60")},
		{"Sender field of another", func(m *relay.Message) {
			m.Identity, m.Content = someone, strings.NewReader(
				"From: x@news.test\nSender: ceo@example.test\n\n",
			)
		}, reply("550 5.7.60")},
		{"null sender, From field of another", func(m *relay.Message) {
			m.Identity, m.From, m.Content = someone, "", strings.NewReader(
				"From: ceo@example.test\n\n",
			)
		}, reply("550 5.7.60")},
		{"two From fields of a user", func(m *relay.Message) {
			m.Identity, m.Content = someone, strings.NewReader(
				"From: app@example.test\nFrom: app@example.test\n\n",
			)
		}, reply("550 5.6.0")},
		{"context", nil, func(err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events := new(record)
			r := idle(t, func(c *relay.Config) { c.Events = events.add })
			ctx, cancel := context.WithCancel(t.Context())
			m := ok()
			if tt.change == nil {
				cancel()
			} else {
				tt.change(m)
			}
			defer cancel()
			receipt, err := r.Submit(ctx, m)
			if err == nil || receipt != nil || !tt.want(err) {
				t.Errorf("Submit = %v, %v", receipt, err)
			}
			if stats, err := r.Stats(t.Context()); err != nil || stats != (spool.Stats{}) {
				t.Errorf("stats %+v, %v", stats, err)
			}
			if got := events.all(event.Accepted); len(got) != 0 {
				t.Errorf("events %s", show(got))
			}
		})
	}
}

// TestSubmitAllFaults reports every refused recipient and the sender at once.
func TestSubmitAllFaults(t *testing.T) {
	_, err := idle(t, nil).Submit(
		t.Context(),
		&relay.Message{
			From: "x", To: []string{"nobody@example.test", "alice@example.test", "no one"},
			Return: "x",
		},
	)
	for _, want := range []string{
		"<nobody@example.test>: 550 5.1.1", "<no one>: ", "Return", "needs content",
		"domains: invalid address",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// TestSubmitAsAnybody shows what an application without an Identity may do:
// everything.
func TestSubmitAsAnybody(t *testing.T) {
	r := idle(t, nil)
	for _, from := range []string{
		"", "ceo@example.test", "x@elsewhere.test", "jürgen@example.test",
	} {
		_, err := r.Submit(
			t.Context(),
			&relay.Message{
				From: from, To: []string{"x@elsewhere.test"},
				Content: strings.NewReader("From: other@else.test\n\n"),
			},
		)
		if err != nil {
			t.Errorf("<%s>: %v", from, err)
		}
	}
	own := &auth.Identity{User: "app@example.test", Senders: []string{"*@news.test"}}
	for _, from := range []string{"", "app@example.test", "any@news.test"} {
		_, err := r.Submit(
			t.Context(),
			&relay.Message{
				From: from, To: []string{"x@elsewhere.test"}, Identity: own,
				Content: strings.NewReader("From: x@news.test\n\n"),
			},
		)
		if err != nil {
			t.Errorf("<%s>: %v", from, err)
		}
	}
}

// TestPrepare commits by hand what Prepare made, as a store in a transaction
// does.
func TestPrepare(t *testing.T) {
	store := memspool.New(nil)
	w := start(t, func(c *relay.Config) { c.Spool = store })
	p, err := prepare(t.Context(), w.relay, &relay.Message{
		From: "app@example.test", To: []string{"x@elsewhere.test", "alice@example.test"},
		Content: strings.NewReader("Bcc: b@c.test\nSubject: hi\n\nline\n"),
		Notify:  spool.NotifyNever, EnvelopeID: "42", Return: "FULL",
		Labels: map[string]string{"order": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := p.Commit.Message
	if m.ID == (spool.ID{}) || m.From != "app@example.test" || m.EnvelopeID != "42" ||
		m.Return != "FULL" || m.Labels["order"] != "1" || m.Created.IsZero() {
		t.Errorf("message %+v", m)
	}
	if m.Size != int64(len(p.Content)+len(p.Commit.Prepend)) {
		t.Errorf("size %d, is %d", m.Size, len(p.Content)+len(p.Commit.Prepend))
	}
	if len(p.Commit.Deliveries) != 2 ||
		p.Commit.Deliveries[0].Recipients[0].Notify != spool.NotifyNever {
		t.Errorf("deliveries %+v", p.Commit.Deliveries)
	}
	if stats, _ := w.relay.Stats(t.Context()); stats.Messages != 0 {
		t.Errorf("queued: %+v", stats)
	}
	sw, err := store.Create(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sw.Write(p.Content); err != nil {
		t.Fatal(err)
	}
	if err := sw.Commit(t.Context(), p.Commit); err != nil {
		t.Fatal(err)
	}
	submit(t, w.relay, "", "x@elsewhere.test") // wakes the relay, which did not see the commit
	for _, c := range []*capture{w.out, w.mailboxes} {
		var got string
		for i := 1; !strings.Contains(got, m.ID.String()); i++ {
			got = c.wait(t, i)[i-1].content
		}
		if !strings.HasPrefix(
			got, "Received: by relay.example.test with LOCAL id "+m.ID.String(),
		) ||
			!strings.HasSuffix(got, "\r\nSubject: hi\r\n\r\nline\r\n") ||
			strings.Contains(got, "Bcc") {
			t.Errorf("content %q", got)
		}
	}
	if _, err := prepare(t.Context(), w.relay,
		&relay.Message{To: []string{"nobody@example.test"}, Content: strings.NewReader(text)},
	); err == nil {
		t.Error("an unknown recipient was prepared")
	}
}

// TestSubmitBeforeRun keeps messages until the relay runs.
func TestSubmitBeforeRun(t *testing.T) {
	store, out := memspool.New(nil), newCapture()
	cfg := relay.Config{Hostname: "relay.example.test", Spool: store, Transport: out}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	submit(t, r, "", "x@elsewhere.test")
	r.Close() // ends what never began: nothing is delivered
	out.mu.Lock()
	if len(out.got) != 0 {
		t.Errorf("delivered without Run: %v", out.got)
	}
	out.mu.Unlock()
	run(t, cfg)
	out.wait(t, 1)
}
