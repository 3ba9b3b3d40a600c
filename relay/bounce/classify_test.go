package bounce_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/bounce"
)

// TestCodes reads codes whose words tell nothing.
func TestCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code     int
		enhanced string
		step     bounce.Step
		want     bounce.Class
	}{
		{550, "5.1.1", bounce.StepRcpt, bounce.UnknownRecipient},
		{550, "5.1.10", bounce.StepRcpt, bounce.UnknownDomain},
		{451, "4.2.2", bounce.StepData, bounce.MailboxFull},
		{552, "", bounce.StepMail, bounce.TooLarge},
		{552, "", bounce.StepRcpt, bounce.MailboxFull},
		{452, "", bounce.StepRcpt, bounce.TooManyRecipients},
		{452, "", bounce.StepMail, bounce.System},
		{421, "", bounce.StepGreeting, bounce.System},
		{521, "", bounce.StepGreeting, bounce.UnknownDomain},
		{554, "", bounce.StepGreeting, bounce.Policy},
		{535, "", bounce.StepAuth, bounce.Access},
		{535, "5.7.3", bounce.StepAuth, bounce.Access}, // as Exchange says it
		{535, "4.7.3", "", bounce.Access},
		{454, "", bounce.StepSTARTTLS, bounce.Encryption},
		{500, "", bounce.StepEHLO, bounce.Protocol},
		{250, "2.0.0", bounce.StepData, bounce.Protocol}, // out of place
		{550, "5.7.28", bounce.StepMail, bounce.Policy},
		{450, "4.7.28", bounce.StepMail, bounce.RateLimited},
		{550, "5.7.1", bounce.StepRcpt, bounce.Policy},
		{550, "5.6.7", bounce.StepMail, bounce.Content},
		{550, "", bounce.StepRcpt, bounce.Other},
		{450, "", "", bounce.Other},
		{999, "9.9.9", "", bounce.Protocol},
		{-1, "x", "", bounce.Protocol},
	} {
		got := bounce.Classify(bounce.Reply{
			Code: tt.code, Enhanced: tt.enhanced, Text: "-", Step: tt.step,
		})
		if got != tt.want {
			t.Errorf("%d %s at %s: %s, want %s", tt.code, tt.enhanced, tt.step, got, tt.want)
		}
	}
}

// TestLocalCauses classifies what no host has said.
func TestLocalCauses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		enhanced string
		step     bounce.Step
		want     bounce.Class
	}{
		{"4.4.3", bounce.StepDNS, bounce.Routing},
		{"5.1.2", bounce.StepDNS, bounce.UnknownDomain},
		{"5.1.10", bounce.StepDNS, bounce.UnknownDomain},
		{"5.4.6", bounce.StepDNS, bounce.Routing},
		{"4.4.4", bounce.StepRoute, bounce.Routing},
		{"4.4.1", bounce.StepDial, bounce.Network},
		{"4.4.2", bounce.StepData, bounce.Network},
		{"4.7.5", bounce.StepSTARTTLS, bounce.Encryption},
		{"4.7.0", bounce.StepAuth, bounce.Access},
		{"4.3.0", bounce.StepContent, bounce.System},
		{"5.3.4", bounce.StepMail, bounce.TooLarge},
		{"5.6.3", bounce.StepMail, bounce.Content},
		{"5.6.7", bounce.StepRcpt, bounce.Content},
		{"5.6.11", bounce.StepContent, bounce.Content},
		{"4.4.7", "", bounce.Expired},
		{"4.0.0", bounce.StepMailbox, bounce.System},
		{"4.0.0", bounce.StepDial, bounce.Network},
		{"", "", bounce.Other},
	} {
		got := bounce.Classify(bounce.Reply{
			Enhanced: tt.enhanced, Step: tt.step, Text: "rate limit exceeded, spam, dmarc",
		})
		if got != tt.want {
			t.Errorf("%s at %s: %s, want %s", tt.enhanced, tt.step, got, tt.want)
		}
	}
}

// slows are the classes by which the relay sends less.
func slows() []bounce.Class {
	return []bounce.Class{
		bounce.RateLimited, bounce.Reputation, bounce.Authentication, bounce.Greylisted,
	}
}

// TestRecipientsCannotSlowTheRelay holds the words that a recipient, his
// administrator or whoever chose an address can put into a reply away from the
// classes that are felt by everybody behind the host.
func TestRecipientsCannotSlowTheRelay(t *testing.T) {
	t.Parallel()
	const shout = "rate limit exceeded, your IP is blocked using zen.spamhaus.org, low reputation"
	for name, r := range map[string]bounce.Reply{
		"address": {
			Code: 450, Step: bounce.StepRcpt, Text: "<rate-limited@x.example>: not now",
		},
		"quoted address": {
			Code: 450, Step: bounce.StepRcpt, Text: `<"` + shout + `"@x.example>: not now`,
		},
		"bare quoted address": {
			Code: 450, Step: bounce.StepRcpt, Text: `no "` + shout + `"@x.example here`,
		},
		"bare address": {
			Code: 450, Step: bounce.StepRcpt, Text: "greylisted@throttled.example: not now",
		},
		"domain": {
			Code: 550, Step: bounce.StepRcpt, Text: "x@dmarc.spamhaus.example (not here)",
		},
		"filter of one recipient": {
			Code: 550, Enhanced: "5.7.1", Step: bounce.StepData, Text: shout,
		},
		"filter behind LMTP": {
			Code: 550, Enhanced: "5.7.1", Step: bounce.StepLMTP, Text: shout,
		},
		"step not known": {Code: 550, Enhanced: "5.7.1", Text: shout},
		"rule in Google Workspace": {
			Code: 421, Enhanced: "4.7.0", Step: bounce.StepData, Host: "aspmx.l.google.com",
			Text: shout + " unusual rate of unsolicited mail - gcdp x - gsmtp",
		},
		"words at Google": {
			Code: 421, Step: bounce.StepRcpt, Host: "ASPMX.L.GOOGLE.COM.", Text: shout,
		},
		"transport rule in Microsoft 365": {
			Code: 550, Enhanced: "5.7.1", Step: bounce.StepData,
			Host: "x.mail.protection.outlook.com [192.0.2.1]",
			Text: "TRANSPORT.RULES.RejectMessage; " + shout,
		},
		"code of a transport rule": {
			Code: 550, Enhanced: "5.7.950", Step: bounce.StepData,
			Host: "x.mail.protection.outlook.com", Text: "DMARC " + shout,
		},
		"limit of one recipient": {
			Code: 450, Enhanced: "4.2.1", Step: bounce.StepRcpt,
			Text: "Recipient exceeds message rate limit",
		},
		"blocklist of one recipient": {
			Code: 550, Enhanced: "5.7.1", Step: bounce.StepRcpt,
			Text: "Your IP is blocked by the recipient",
		},
		"no connection": {Text: shout, Step: bounce.StepDial},
	} {
		if got := bounce.Classify(r); slices.Contains(slows(), got) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestHostsOfProviders applies a provider's rules to its own hosts only.
func TestHostsOfProviders(t *testing.T) {
	t.Parallel()
	r := bounce.Reply{Code: 550, Enhanced: "5.7.27", Step: bounce.StepData, Text: "No."}
	for host, want := range map[string]bounce.Class{
		"aspmx.l.google.com":               bounce.Authentication,
		"aspmx.l.google.com [192.0.2.1]":   bounce.Authentication,
		"Google.COM.":                      bounce.Authentication,
		"smtp.google.com:587":              bounce.Authentication,
		"notgoogle.com":                    bounce.BadSender,
		"google.com.example.org":           bounce.BadSender,
		"mx.example.org (aspmx.google.com": bounce.BadSender,
		"":                                 bounce.BadSender,
	} {
		if r.Host = host; bounce.Classify(r) != want {
			t.Errorf("%q: %s, want %s", host, bounce.Classify(r), want)
		}
	}
}

// TestLongTexts looks at the beginning of a text.
func TestLongTexts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x ", 1<<20)
	r := bounce.Reply{Code: 550, Step: bounce.StepRcpt, Text: long + "user unknown"}
	if got := bounce.Classify(r); got != bounce.Other {
		t.Errorf("behind: %s", got)
	}
	r.Text = "user unknown " + long
	if got := bounce.Classify(r); got != bounce.UnknownRecipient {
		t.Errorf("in front: %s", got)
	}
}

// TestClassifyAllocatesNothing keeps a burst of failures cheap.
func TestClassifyAllocatesNothing(t *testing.T) {
	all := readReplies(t)
	bounce.Classify(all[0].reply)
	n := testing.AllocsPerRun(10, func() {
		for i := range all {
			bounce.Classify(all[i].reply)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for %d replies", n, len(all))
	}
}

func FuzzClassify(f *testing.F) {
	for _, s := range readReplies(f) {
		f.Add(s.reply.Code, s.reply.Enhanced, s.reply.Text, string(s.reply.Step), s.reply.Host)
	}
	f.Add(550, "5.", "<", "", ":")
	f.Add(450, "4.7.", `"`, "rcpt", "[")
	f.Add(0, "....", `"@<"@`, "x", " ")
	f.Fuzz(func(t *testing.T, code int, enhanced, text, step, host string) {
		c := bounce.Classify(bounce.Reply{
			Code: code, Enhanced: enhanced, Text: text, Step: bounce.Step(step), Host: host,
		})
		if !slices.Contains(bounce.Classes(), c) {
			t.Fatalf("no class is %q", c)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	all := readReplies(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		bounce.Classify(all[i%len(all)].reply)
	}
}
