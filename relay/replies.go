package relay

import (
	"context"
	"errors"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/spool"
)

// reply makes one of the constant replies below. Each call makes a new value,
// so that a cause can be attached.
func reply(code int, enhanced, text string) *smtpd.Reply {
	return &smtpd.Reply{Code: code, Enhanced: enhanced, Text: text}
}

// The refusals of this relay. The texts are constant: nothing of an internal
// error reaches the wire.
func replyNotAuthenticated() *smtpd.Reply {
	return smtpd.Missing(reply(530, "5.7.1", "Client was not authenticated"), connector.Submit)
}
func replyMayNotSubmit() *smtpd.Reply {
	return smtpd.Missing(
		reply(550, "5.7.1", "Client does not have permission to submit mail to this server"),
		connector.Submit,
	)
}
func replyAnonymousSender(right connector.Right) *smtpd.Reply {
	return smtpd.Missing(
		reply(550, "5.7.1", "Anonymous client does not have permissions to send as this sender"),
		right,
	)
}
func replyClientSender(right connector.Right) *smtpd.Reply {
	return smtpd.Missing(
		reply(550, "5.7.60", "Client does not have permissions to send as this sender"), right,
	)
}
func replyUnableToRelay() *smtpd.Reply {
	return smtpd.Missing(
		reply(550, "5.7.54", "Unable to relay recipient in non-accepted domain"),
		connector.AcceptAnyRecipient,
	)
}

func replyUnknownUser() *smtpd.Reply { return reply(550, "5.1.1", "User unknown") }
func replyLookupFailed(cause error) *smtpd.Reply {
	r := reply(451, "4.3.0", "Recipient lookup failed, try again later")
	r.Cause = cause
	return r
}
func replyRate() *smtpd.Reply {
	return reply(
		421, "4.4.2", "Message submission rate for this client has exceeded the configured limit",
	)
}
func replyLoop() *smtpd.Reply {
	return reply(554, "5.4.6", "Hop count exceeded - possible mail loop")
}
func replyHeaderTooLarge() *smtpd.Reply {
	return reply(552, "5.3.4", "Message header size exceeds fixed maximum size")
}
func replyNoRoom(cause error) *smtpd.Reply {
	r := reply(452, "4.3.1", "Insufficient system resources")
	r.Cause = cause
	return r
}
func replyNoFrom() *smtpd.Reply { return reply(550, "5.6.0", "Message has no From field") }

// replySeveral refuses a header that has a field twice which it may have once.
func replySeveral(field string) *smtpd.Reply {
	return reply(550, "5.6.0", "Message has more than one "+field+" field")
}

// replyUnreadable refuses a From or Sender field whose addresses cannot be told
// for sure.
func replyUnreadable(field string, cause error) *smtpd.Reply {
	r := reply(550, "5.6.0", "Address in the "+field+" field cannot be read, "+
		`write it as "Name" <user@example.com>`)
	r.Cause = cause
	return r
}
func replyTooManyFields() *smtpd.Reply {
	return reply(550, "5.6.0", "Message has too many header fields of a kind")
}
func replyParts(cause error) *smtpd.Reply {
	r := reply(550, "5.6.0", "Parts of the message cannot be told apart")
	r.Cause = cause
	return r
}
func replyBareLine() *smtpd.Reply {
	return reply(550, "5.6.11", "Bare CR, bare LF and NUL are not allowed in a header")
}
func replyInternal(cause error) *smtpd.Reply {
	r := reply(451, "4.3.0", "Temporary server error, try again later")
	r.Cause = cause
	return r
}

// replyUnanswered ends a session: a function of the application still has its
// Session.
func replyUnanswered(cause error) *smtpd.Reply {
	r := reply(421, "4.3.0", "Temporary server error, closing transmission channel")
	r.Cause = cause
	return r
}

// toReply is the one place where an error becomes a reply.
func toReply(err error) *smtpd.Reply {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*smtpd.Reply](err); ok {
		return r
	}
	if r, ok := errors.AsType[*ReplyError](err); ok {
		return &smtpd.Reply{Code: r.Code, Enhanced: r.Enhanced, Text: r.Text, Cause: err}
	}
	switch {
	case errors.Is(err, errLeftAlone):
		return replyUnanswered(err)
	case errors.Is(err, spool.ErrFull):
		return replyNoRoom(err)
	case errors.Is(err, context.DeadlineExceeded):
		r := reply(451, "4.4.5", "Server timed out, try again later")
		r.Cause = err
		return r
	}
	return replyInternal(err)
}

// replyError turns a reply into the error that callers of Submit see.
func replyError(r *smtpd.Reply) error {
	if r == nil {
		return nil
	}
	return &ReplyError{Code: r.Code, Enhanced: r.Enhanced, Text: r.Text, Err: r.Cause}
}
