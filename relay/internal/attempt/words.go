package attempt

import "github.com/postern-mail/postern/relay/delivery"

// maxDiagnostic is what a store may cut a diagnostic at.
const maxDiagnostic = 512

// shown is what a sender may read of a failure: the remote reply as received,
// the words of the application, or a constant text for a local cause, whose
// details belong in the log and the events.
func shown(f *delivery.Error) delivery.Reply {
	switch {
	case f.Reply.Code != 0:
		return f.Reply
	case f.Reply.Text != "":
		return delivery.Reply{Text: f.Reply.Text}
	}
	return delivery.Reply{Text: localCause(f)}
}

// diagnostic is shown as the queue keeps it.
func diagnostic(f *delivery.Error) string {
	text := shown(f).String()
	return text[:min(len(text), maxDiagnostic)]
}

func localCause(f *delivery.Error) string {
	if isDamaged(f.Err) {
		return "The message was damaged while it waited on this server, and cannot be sent any more"
	}
	if isCrash(f.Err) {
		return "This server has met a fault of its own when it was to hand the message over"
	}
	switch f.Reply.Enhanced {
	case "5.6.3":
		return "The mail host does not take such 8-bit or binary content, and the message cannot " +
			"be converted"
	case "5.6.11":
		return "The message has a CR, an LF or a NUL on its own where it cannot be sent"
	case "5.6.7":
		return "The mail host takes no 8-bit headers or addresses, and the message cannot be " +
			"converted"
	}
	switch f.Op {
	case delivery.OpDNS:
		return "The mail hosts of the domain could not be found"
	case delivery.OpDial, delivery.OpGreeting, delivery.OpEHLO:
		return "No mail host could be reached"
	case delivery.OpSTARTTLS:
		return "No secure connection could be made"
	case delivery.OpAuth:
		return "The mail host did not let this server log on"
	case delivery.OpRoute:
		return "No route leads to the recipient's domain"
	default:
		return "The connection with the mail host broke off, or it could not take the message"
	}
}
