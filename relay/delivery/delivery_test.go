package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
)

// TestSuccessIsStated lets nothing but a statement without contradiction count.
func TestSuccessIsStated(t *testing.T) {
	said := func(code int) delivery.Reply { return delivery.Reply{Code: code} }
	for _, tt := range []struct {
		name string
		res  delivery.Result
		want bool
	}{
		{"zero", delivery.Result{}, false},
		{"a reply alone", delivery.Result{Reply: said(250)}, false},
		{"a host alone", delivery.Result{Host: "mx"}, false},
		{"Delivered", delivery.Result{Delivered: true}, true},
		{"Taken", delivery.Taken("mx", said(250)), true},
		{"Taken without a reply", delivery.Taken("", delivery.Reply{}), true},
		{"Delivered and an error", delivery.Result{Delivered: true, Err: errSecret}, false},
		{"Taken by a refusal", delivery.Taken("mx", said(451)), false},
		{"Taken by 354", delivery.Taken("mx", said(354)), false},
		{"Failed", delivery.Failed(errSecret), false},
		{"Failed without an error", delivery.Failed(nil), false},
	} {
		if got := tt.res.OK(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestErrorOfReject finds an Error in what Reject and Defer return, however
// wrapped, with the words for the sender and without a remote code.
func TestErrorOfReject(t *testing.T) {
	for _, tt := range []struct {
		err       error
		permanent bool
		text      string
	}{
		{relay.Reject(550, "5.1.1", "No"), true, "5.1.1 No"},
		{relay.Defer(421, "4.3.2", "Later"), false, "4.3.2 Later"},
		{fmt.Errorf("a: %w", relay.Reject(550, "5.1.1", "No")), true, "5.1.1 No"},
		{errors.Join(errSecret, relay.Reject(554, "", "No")), true, "5.0.0 No"},
	} {
		e, ok := errors.AsType[*delivery.Error](tt.err)
		if !ok || e.Permanent != tt.permanent || e.Temporary() == tt.permanent ||
			e.Reply.String() != tt.text || e.Reply.Code != 0 {
			t.Errorf("%v: %+v", tt.err, e)
		}
	}
	if _, ok := errors.AsType[*delivery.Error](errSecret); ok {
		t.Error("an Error in an error that has none")
	}
}

// TestOpsAsText writes every step and reads it again.
func TestOpsAsText(t *testing.T) {
	for op := delivery.OpOther; op <= delivery.OpMailbox; op++ {
		text, err := op.MarshalText()
		var again delivery.Op
		if err != nil || again.UnmarshalText(text) != nil || again != op ||
			string(text) != op.String() {
			t.Errorf("%v: %q, %v", op, text, err)
		}
	}
	none := delivery.OpMailbox + 1
	if _, err := none.MarshalText(); err == nil || !strings.HasPrefix(none.String(), "Op(") {
		t.Errorf("%v is a step", none)
	}
	if err := new(delivery.Op).UnmarshalText([]byte("lunch")); err == nil {
		t.Error("lunch is a step")
	}
}

// TestSMTPWithoutWhatItNeeds fails for now.
func TestSMTPWithoutWhatItNeeds(t *testing.T) {
	a := &delivery.Attempt{Recipients: make([]spool.Recipient, 2)}
	lent := *a
	lent.Sender = recorder{}
	good := connector.NextHop{Hosts: []string{"a.test"}}
	for name, got := range map[string][]delivery.Result{
		"no sender": delivery.SMTP(good).Deliver(t.Context(), a),
		"no hosts":  delivery.SMTP(connector.NextHop{}).Deliver(t.Context(), &lent),
		"odd host": delivery.SMTP(
			connector.NextHop{Hosts: []string{"a b"}},
		).Deliver(t.Context(), &lent),
		"no mailbox":   delivery.Mailbox(nil).Deliver(t.Context(), &lent),
		"no directory": delivery.Maildir("").Deliver(t.Context(), &lent),
	} {
		if len(got) != 2 {
			t.Errorf("%s: %d results", name, len(got))
			continue
		}
		for _, r := range got {
			e, _ := errors.AsType[*delivery.Error](r.Err)
			if r.OK() || r.Err == nil || e != nil && e.Permanent {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	faults := delivery.SMTP(connector.NextHop{
		Hosts: []string{"a.test:0"}, TLS: connector.TLSDomainValidation,
	}).(interface{ Validate() error }).Validate()
	if _, ok := errors.AsType[*postern.FieldError](faults); !ok ||
		!strings.Contains(faults.Error(), "Hosts[0]") ||
		!strings.Contains(faults.Error(), "TLSDomain") {
		t.Errorf("faults %v", faults)
	}
}

// TestSMTPInALabels sends to hosts whose names were given in U-labels.
func TestSMTPInALabels(t *testing.T) {
	var got *connector.NextHop
	a := &delivery.Attempt{Sender: senderFunc(func(hop *connector.NextHop) { got = hop })}
	delivery.SMTP(connector.NextHop{
		Hosts: []string{"exämple.test", "exämple.test:26", "192.0.2.1"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "exämple.test", FQDN: "exämple.test",
	}).Deliver(t.Context(), a)
	const name = "xn--exmple-cua.test"
	if got == nil || strings.Join(got.Hosts, " ") != name+" "+name+":26 192.0.2.1" ||
		got.TLSDomain != name || got.FQDN != name {
		t.Errorf("hop %+v", got)
	}
}

// senderFunc is a Sender that looks at the next hop.
type senderFunc func(hop *connector.NextHop)

func (f senderFunc) Send(
	_ context.Context, hop *connector.NextHop, a *delivery.Attempt,
) []delivery.Result {
	f(hop)
	return a.All(delivery.Result{})
}

// TestMailboxMarksItsErrors tells those of the function from others, and leaves
// what is an Error already.
func TestMailboxMarksItsErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		text string
	}{
		{errSecret, "mailbox: disk full"},
		{relay.Reject(550, "5.1.1", "No"), "550 5.1.1 No"},
		{&delivery.Error{Op: delivery.OpData, Err: errSecret}, "data: disk full"},
	} {
		box := delivery.Mailbox(
			func(context.Context, domains.Address, *delivery.Attempt) error { return tt.err },
		)
		r := box.Deliver(t.Context(), attemptOf("id1", text, "alice@example.test"))[0]
		if r.Err == nil || r.Err.Error() != tt.text || !errors.Is(r.Err, tt.err) {
			t.Errorf("%v, want %s", r.Err, tt.text)
		}
	}
}

// TestMailboxContainsPanics has the function panic for one of three: the others
// are told apart, and the error tells where.
func TestMailboxContainsPanics(t *testing.T) {
	box := delivery.Mailbox(
		func(_ context.Context, to domains.Address, _ *delivery.Attempt) error {
			if to.Local() == "bob" {
				panic("no such box")
			}
			return nil
		},
	)
	all := []string{"alice@example.test", "bob@example.test", "carol@example.test"}
	results := box.Deliver(t.Context(), attemptOf("id1", text, all...))
	for i, want := range []bool{true, false, true} {
		if results[i].OK() != want {
			t.Errorf("%s: %+v", all[i], results[i])
		}
	}
	e, _ := errors.AsType[*delivery.Error](results[1].Err)
	if e == nil || e.Permanent || !strings.Contains(e.Error(), "delivery_test.go:") {
		t.Errorf("the panic is %v", results[1].Err)
	}
}

// TestErrorInOneLine leaves out what is not there.
func TestErrorInOneLine(t *testing.T) {
	reply := delivery.Reply{Code: 550, Enhanced: "5.1.1", Text: "No"}
	for want, e := range map[string]*delivery.Error{
		"not delivered":        {Permanent: true},
		"api: 550 5.1.1 No":    {Host: "api", Reply: reply},
		"disk full":            {Err: errSecret},
		"rcpt a: 550 5.1.1 No": {Op: delivery.OpRcpt, Host: "a", Reply: reply},
		"mailbox: disk full":   {Op: delivery.OpMailbox, Err: errSecret},
		"dial a [192.0.2.1]: why": {
			Op: delivery.OpDial, Host: "a [192.0.2.1]", Err: errors.New("why"),
		},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestMaildirOddHeaders copies headers that are not as they should be, and
// drops foreign trace fields from those too.
func TestMaildirOddHeaders(t *testing.T) {
	for in, want := range map[string]string{
		": x\r\nReturn-Path: <a@b>\r\n\r\nbody": ": x\r\n\r\nbody",
		"Return-Path : <a@b>\r\n\r\nbody":       "\r\nbody",
		"Subject: no body\r\n":                  "Subject: no body\r\n",
		"\r\nDelivered-To: x\r\n":               "\r\nDelivered-To: x\r\n",
		"":                                      "",
		" fold\r\nReturn-Path:x":                " fold\r\n",
	} {
		dir := t.TempDir()
		r := delivery.Maildir(dir).Deliver(t.Context(), attemptOf("id1", in, "a@example.test"))
		if !r[0].OK() {
			t.Fatal(r[0].Err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "a@example.test/new/id1.postern"))
		_, got, _ := strings.Cut(string(b), "Delivered-To: a@example.test\r\n")
		if err != nil || got != want {
			t.Errorf("%q became %q, %v", in, got, err)
		}
	}
}

// FuzzParseReply prints what it has read, and reads the same again.
func FuzzParseReply(f *testing.F) {
	for _, s := range []string{
		"", "250", "250 2.0.0 ok", "550 no", "550  two", "451 4.", "451 5.1.1 x", "99 x",
		"+12 x", "5501 x", "no such host",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := delivery.ParseReply(s)
		if r.Code != 0 && (r.Code < 100 || r.Code > 999) {
			t.Errorf("%q: code %d", s, r.Code)
		}
		if r.Code == 0 && (r.Text != s || r.Enhanced != "") {
			t.Errorf("%q became %+v", s, r)
		}
		if again := delivery.ParseReply(r.String()); again != r && r.Text != "" &&
			!strings.HasPrefix(r.Text, " ") && r.Enhanced != "" {
			t.Errorf("%q: %+v, then %+v", s, r, again)
		}
	})
}

// BenchmarkMaildirCopy copies a message past its header.
func BenchmarkMaildirCopy(b *testing.B) {
	content := text + strings.Repeat("body\r\n", 10_000)
	dir := b.TempDir()
	box := delivery.Maildir(dir)
	a := attemptOf("id1", content, "alice@example.test")
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if r := box.Deliver(b.Context(), a); !r[0].OK() {
			b.Fatal(r[0].Err)
		}
	}
}
