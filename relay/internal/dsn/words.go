package dsn

import "strings"

func (r *Report) subject() string {
	switch worst, some := r.worst(); {
	case worst == Failed && some:
		return "Your message could not be delivered to some recipients"
	case worst == Failed:
		return "Your message could not be delivered"
	case worst == Delayed && some:
		return "Your message is delayed for some recipients"
	case worst == Delayed:
		return "Your message is delayed"
	case worst == Relayed:
		return "Your message was passed on"
	}
	return "Your message was delivered"
}

// worst returns the action that matters most, and whether it is that of some
// recipients only.
func (r *Report) worst() (worst Action, some bool) {
	for _, worst = range []Action{Failed, Delayed, Relayed} {
		n := 0
		for i := range r.Recipients {
			if r.Recipients[i].Action == worst {
				n++
			}
		}
		if n > 0 {
			return worst, n < len(r.Recipients)
		}
	}
	return Delivered, false
}

// words writes the part for people.
func (r *Report) words(t *text) {
	t.words("", "This is the mail system at ", r.Hostname, ".")
	for _, s := range []struct{ action, says string }{
		{string(Failed), "Your message could not be delivered to:"},
		{
			string(Delayed),
			"Your message has not been delivered yet to the following. It will be tried again; " +
				"there is no need to send it once more:",
		},
		{string(Delivered), "Your message was delivered to:"},
		{
			string(Relayed),
			"Your message was passed on to a system that does not report delivery, for:",
		},
		{
			string(Expanded),
			"Your message was delivered to a list and passed on to its members, for:",
		},
	} {
		said := false
		for i := range r.Recipients {
			rcpt := &r.Recipients[i]
			if string(rcpt.Action) != s.action {
				continue
			}
			if !said {
				t.line("")
				t.words("", s.says)
				said = true
			}
			rcpt.words(t)
		}
	}
}

func (rcpt *Recipient) words(t *text) {
	t.line("")
	t.words("  ", "<", rcpt.Address, ">")
	// The alias a sender wrote to is what the sender knows.
	if _, addr, ok := strings.Cut(rcpt.Original, ";"); ok && addr != "" && addr != rcpt.Address {
		t.words("    ", "You wrote to <", addr, ">.")
	}
	switch {
	case rcpt.Reply.Code != 0 && rcpt.Host != "":
		t.words("    ", rcpt.Host, " said: ", rcpt.Reply.String())
	case rcpt.Reply.Code != 0:
		t.words("    ", rcpt.Reply.String())
	case rcpt.Reply.Text != "":
		t.words("    ", rcpt.Reply.Text)
	}
	switch rcpt.Action {
	case Failed:
		t.words("    ", advice(rcpt.status()))
	case Delayed:
		if !rcpt.WillRetryUntil.IsZero() {
			t.words("    ", "It will be tried until ", rcpt.WillRetryUntil.Format(date), ".")
		}
	}
}

// advice tells what the sender can do about an enhanced status code (RFC 3463).
func advice(status string) string {
	class, detail, _ := strings.Cut(status, ".")
	subject, _, _ := strings.Cut(detail, ".")
	switch {
	case detail == "2.2":
		return "The mailbox is full. Try again later, or reach the recipient another way."
	case detail == "3.4" || detail == "2.3":
		return "The message is too large. Send a smaller one."
	case detail == "4.6":
		return "The message went in a circle. Tell the postmaster of the recipient's domain."
	case class == "4":
		return "The message was tried until its time was over. Send it again later, or reach the " +
			"recipient another way."
	case detail == "1.2":
		return "The domain does not exist or takes no mail. Check the address for mistakes."
	case subject == "1":
		return "Check the address for mistakes, then send the message again."
	case detail == "3.0":
		return "A mail system had a fault. Send the message again, or reach the recipient " +
			"another way."
	case subject == "2":
		return "The mailbox does not take the message. Reach the recipient another way."
	case subject == "4":
		return "The recipient's mail system could not be reached. Check the domain of the " +
			"address for mistakes."
	case subject == "6":
		return "The recipient's mail system cannot handle the form of the message."
	case subject == "7":
		return "The recipient's mail system does not allow the message. Its postmaster can tell " +
			"why."
	}
	return "If you do not know why, ask the postmaster of the recipient's domain."
}
