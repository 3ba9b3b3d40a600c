// Package relay is a mail relay that lives in the application's process: it
// takes messages in by SMTP and from the application, keeps them in a durable
// queue, delivers them, and tells senders what became of them.
//
// [New] checks a [Config], [Relay.Run] serves and delivers until its context
// ends, [Relay.Submit] queues a message of the application.
//
// # The way of a message
//
// A connection is matched with a receive connector by its two addresses;
// without one it is closed. At MAIL the session needs the right to submit and
// to use the sender; at RCPT the recipient must be in an accepted domain, and
// exist there, or the session needs the right to relay. The message is written
// to the spool and the client is told 250 when it is durable. Deliveries are
// made from the spool, each to one route: the mailboxes, the smart hosts of a
// send connector, the MX of a domain, or the application's own
// [delivery.Transport].
//
// # What is changed
//
// What an authenticated user, a client over HTTP or the application sends is
// completed (RFC 6409 section 8): Date and Message-ID when they are missing or
// blank; From, of the envelope sender, and without one the message is refused;
// Sender, when From names several mailboxes or, of users, somebody else; and
// with [Config].CompleteAddresses the domain of bare addresses. Lines over 998
// octets are folded or broken. A display name in From or Sender that is not
// quoted as it must be is quoted, if one address in angle brackets ends the
// field. What another host relays gets trace fields and a signature only. Bcc
// goes from both, and so do fields that the client has no right to send,
// Authentication-Results in the relay's name from users and strangers, and the
// line of a mailbox file before the header. A header, that of a part included,
// which is not lines that end with CRLF is refused with 550 5.6.11, whatever
// BODY says.
//
// 8-bit content is converted to 7-bit MIME for a next hop that does not offer
// 8BITMIME, and raw 8-bit header fields to encoded words. What claims an
// encoding that it has not goes out as it is. BINARYMIME content that cannot be
// sent otherwise fails with 5.6.3. A message with an 8-bit header that was
// accepted with SMTPUTF8 fails with 5.6.7 where that is not offered.
//
// # Signatures
//
// A message is signed by [Config].DKIM when it is accepted, over what was
// accepted. Where it is converted, the relay takes its own signatures off and
// signs what leaves (RFC 6376 section 5.3), with the keys of that moment. A
// message whose domain has no key any more leaves unsigned. Signatures of
// others stay, also if the conversion breaks them: a broken signature counts as
// none (RFC 6376 section 6.1), and the relay cannot make it again. Reports are
// signed when the domain of [Config].Postmaster has a key.
//
// # Durability
//
// What got its 250, or a nil error from Submit, is delivered, reported to its
// sender, or removed by an operator, as long as the spool keeps it. Delivery is
// at least once: a copy is sent twice only when the process dies between the
// next hop's 250 and the settling of the attempt.
//
// # Reports
//
// A sender is told of failures, of a delay once a message has waited for
// [Retry].DelayNotification, and, if it asks by NOTIFY=SUCCESS, of success:
// "delivered" when the copy lies in a mailbox, "relayed" when it went to a host
// that does not report itself. NOTIFY chooses among these (RFC 3461). What
// befalls the recipients of one attempt is in one report, queued in the same
// step that settles the attempt, with the null sender and NOTIFY=NEVER: a
// report makes no other. If the spool cannot take the report after several
// tries, the attempt is settled without it: failure and delay are reported
// after a later attempt, success is not.
//
// Every route of a message makes reports of its own. Whoever may send mail in
// may ask for them, also under a forged sender; so a message to recipients in
// many domains can make as many reports. Strangers, which are anonymous clients
// without the right to relay, are told of a delay only if they ask, and never
// of success. A connector that lists DSN among its SuppressedKeywords takes no
// NOTIFY, and strangers then hear of failure only.
//
// A recipient that is named twice, in whatever spelling, gets one copy. What
// was asked for by NOTIFY in either place is reported.
//
// # Fairness
//
// Of [Config].MaxDeliveries places a tenth, but one of two at least, is for
// Mailboxes and Transport alone, and a tenth for telling senders of what has
// expired. Of the rest, a send connector with all its domains holds at most
// twice as many as it leaves free, a user or host (with IPv6 its /64), or the
// application, four times as many, one message an eighth. The reports that one
// host has caused hold an eighth, all reports a quarter, and so do the
// destinations that nobody answered on when last tried. However few the places,
// a connector, a sender or a message leaves one of two. A destination begins
// with 5 places and gains one with each success, up to its send connector's
// MaxConnections, or to what its hosts are seen to take.
//
// # DNS
//
// Without a [Config].Resolver the relay asks the servers of /etc/resolv.conf,
// which is read again when it changes, and keeps answers for as long as their
// TTL says, a day at most. /etc/hosts goes first for addresses, and the search
// list is for hosts of the configuration alone. Of DNSSEC it believes a server
// on this host, and with "options trust-ad" in resolv.conf any. Without that
// file, as on Windows, the standard library's resolver is asked
// ([delivery.StandardResolver]).
//
// A domain is unknown for good, and its mail bounces, only if all questions
// about it have that answer. Every other failure may pass.
//
// # Waiting
//
// Nobody is waited for without end:
//
//	a look-up, dialling, the TLS handshake     30 seconds each
//	the greeting                               1 minute
//	all that comes before MAIL, on all hosts   2 minutes
//	a connection of MaxConnections to be free  2 minutes
//	a reply to MAIL, RCPT or DATA              5 minutes
//	each write of content                      3 minutes
//	the reply to the content                   10 minutes
//	an attempt, also of a Transport            50 minutes
//	the store, to settle an attempt            30 seconds
//
// An address that is silent before MAIL leaves each of those behind it 10
// seconds of the time for all, and so does TLS to the clear where that is
// allowed.
//
// A destination that nobody answers on three times in a row rests for a second,
// then for twice as long each time up to a minute; one delivery then tries it.
// What falls due while it rests is looked at within a second or so: what has
// expired ends, and senders are told of a delay, without an attempt. What was
// not attempted since the relay began, or since the clock was set by a minute
// or more, does not expire before it was, so that downtime bounces nothing
// untried.
//
// # Events and crashes
//
// [Config].Events hears of everything while the process runs, soon and at most
// once: good for pages and figures. What an application must not miss it reads
// by [Relay.Follow] from the log of the store, which [Config].EventLog turns
// on. There each event lies in the step that made it true, so that after a
// crash, at whatever point, every accepted recipient has exactly one fate, and
// a consumer goes on where it was.
//
// A message that is submitted again, since nobody knows whether the first time
// succeeded, is queued once if it has a Key. Over SMTP a user who has logged on
// gives it in the field Idempotency-Key, which goes no further; there the
// envelope alone tells whether it is the same message. Sessions get a Stream,
// and Labels, by the application's Policy.
//
// # Errors
//
// Refusals on the wire have constant texts. The cause is in the log and the
// refusal in the stream of events. The application chooses replies with
// [Reject] and [Defer].
//
// # Concurrency
//
// All methods of [Relay] may be called from many goroutines. The functions of a
// [Config] are called from many goroutines as well, except Events, which gets
// one event at a time. Shutdown may be called from them. One that panics or
// does not return counts as a temporary failure and holds up nobody; Run,
// Shutdown and Close end at their limit all the same, and tell what they left.
//
// # Tests
//
// Package relaytest runs a relay in memory for the tests of an application.
// [Config].Dial and Listen let one have a network of its own.
//
// # Security
//
// The relay is closed by default: without connectors nothing listens, without
// grants nothing is relayed, and an anonymous relay for everyone is refused by
// New. Received fields show the client's address; credentials are in no log.
//
// # Log
//
// The keys of its lines are, one for each concept: address, addresses,
// attempt, certificate, code, command, connector, consumer, credential,
// cursor, dropped, enhanced, err, errors, expires, file, from, helo, host,
// kind, local, mechanism, messages, name, next, panic, pause, proxy,
// queue_id, reason, recipients, refused, remote, reply, report, retry,
// session, size, stack, stage, tls, to, user. Errors are under err, ids of
// messages under queue_id and those of sessions under session. A line has no
// key without a value.
package relay
