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
// # TLS
//
// Of [Config].TLS, MinVersion defaults to TLS 1.2, and CipherSuites to the six
// of TLS 1.2 that have ECDHE and AES-GCM or ChaCha20-Poly1305; with a lower
// MinVersion, to those of crypto/tls. NextProtos is "smtp", whatever is set: a
// client that asks for other protocols only is refused. So it is in what
// GetConfigForClient returns.
//
// A connector that knows servers or partners by their certificate asks the
// client for one and verifies it against ClientCAs, which are then required. A
// certificate that is not good does not count, and the session goes on without
// it, unless ClientAuth says otherwise. GetConfigForClient, where set, has to
// ask for certificates itself.
//
// With [Config].RequireEncryption a session of a client beyond loopback that
// reaches a connector on loopback through one of Proxies or XClient goes as if
// RequireTLS were set; TLS that the proxy has ended does not count there. The
// handlers of packages httpapi and admin refuse requests that do not come from
// a loopback address, or come through a proxy elsewhere, unless both the client
// and that proxy are inside TLS.
//
// # Proxies
//
// A connection from [Config].Proxies begins with a PROXY header (version 1 or
// 2): connector, limits, log and trace fields go by the client's addresses in
// it. Where no connector is bound to the address that the client connected to,
// the one that the proxy connected to counts. A connection of theirs without a
// proper header is closed; a header from anybody else is an unknown command. A
// proxy that speaks for itself (LOCAL, as in a health check) and that no
// connector takes is greeted and granted nothing.
//
// A host of [Config].XClient names its client once a connection. The session
// then begins anew with the client's addresses, and what the host has proved is
// forgotten, TLS itself aside. A client that has been named, by XCLIENT or a
// PROXY header, and says XCLIENT is answered 421: with its proxy_protocol on,
// nginx needs xclient off. LOGIN is not taken: users log on here.
//
// # Logging on
//
// A connector's BasicAuth stands for all mechanisms that [Config].Auth has for
// users. Outside TLS, where a connector lets users log on without it, bearer
// tokens are not taken. Logging on by certificate (EXTERNAL) makes connectors
// ask for one, which needs ClientCAs. With ExchangeServer alone there is no
// LOGIN, OAUTHBEARER or XOAUTH2. Over HTTP, Passwords decides on Basic
// credentials and Tokens on Bearer ones.
//
// To log on is not enough to send: a user sends as the addresses of
// [auth.Identity].Senders, and as the user name if that is an address. Another
// sender is refused with 550 5.7.60, and the log tells of a missing right,
// Accept-Any-Sender; the cure is to add the address by [auth.WithSenders] and
// [auth.SCRAMWithSenders], not to grant the right.
//
// A verifier that has not answered within 30 seconds is left alone and the
// client told 454 4.7.0; while 1000 calls have not returned, nobody is asked.
// [Relay.Reload] takes over another Server, with the same Throttle and
// SCRAMSecret if nothing else is to change; what was changed in the one in use
// is ignored.
//
// # Composing a message
//
// [Message].Content is a message as RFC 5322 has it. The relay adds Date,
// Message-ID and From, not To, Subject or MIME-Version. What comes from users
// must not get into a header as it is: a line end in a name would begin a field
// of its own. Write addresses with [net/mail.Address.String], other words with
// [mime.QEncoding], and the body with mime/quotedprintable or mime/multipart.
// Content that does not begin with a field is all body.
//
// A message with a Key is composed once and kept until it is queued: a new Date
// or boundary makes it another message.
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
// signed when the domain of [Config].Postmaster has a key. A message with
// authors of several domains is not signed. The log tells once for each reason
// what goes unsigned although there is a key.
//
// # Durability
//
// What got its 250, or a nil error from Submit, is delivered, reported to its
// sender, or removed by an operator, as long as the spool keeps it. Delivery is
// at least once: a copy is sent twice only when the next hop's answer to the
// content is lost, or when the process dies, or loses its way to a shared
// spool, between that answer and the settling of the attempt.
//
// # Poison
//
// An attempt crashes when something of the application's panics in it: a
// Transport, Mailboxes, the Resolver, Dial, the Signer of a key. After two in a
// row the copies are set aside: [event.Poisoned] tells of each, the log has the
// stack, the sender is told at once. They neither expire nor are tried again
// until [Relay.Reschedule] releases or [Relay.Cancel] removes them;
// [Relay.Poisoned] and the page of package admin list them. Package delivery
// has the rest, under Crashes.
//
// # Reports
//
// A sender is told of failures, of a delay once a message has waited for
// DelayNotification of [delivery.Retry], and, if it asks by NOTIFY=SUCCESS, of
// success: "delivered" when the copy lies in a mailbox, "relayed" when it went
// to a host that does not report itself. NOTIFY chooses among these (RFC 3461).
// What became of the recipients of one attempt is in one report, queued in the
// same step that settles the attempt, with the null sender and NOTIFY=NEVER: a
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
// twice as many as it leaves free; a site (see Throttling) four times as many
// as it leaves of those, or as many while nothing ends on it; a user or host
// (with IPv6 its /64), or a stream of the application's, four times as many as
// are free; one message an eighth. The reports that one host has caused hold an
// eighth, all reports a quarter, and so do the sites that nobody answered on
// when last tried. However few the places, a connector, a sender or a message
// leaves one of two. A site begins with 5 places and gains one with each
// success, up to its send connector's MaxConnections, or to what its hosts are
// seen to take; when it refuses for its rate it gets half, then one more for as
// many successes as it has places.
//
// Streams take turns for each free place, each for as much as its Weight says,
// and so do senders of mail without one. Shaping bounds connections and rates
// of sites, providers, sources and streams; relays on one store share them.
//
// # Throttling
//
// What a remote host refuses for good is bounced, and what it refuses for now
// is tried again. Beside that the relay sends less by itself when a refusal is
// about more than one message. By the class of the refusal (package bounce):
//
//	rate-limited    a site gets half of its rate and connections for 30
//	                minutes, then a tenth more every 5 minutes. Refused again,
//	                it gets half of that, not twice within 5 minutes, and a
//	                sixteenth at least
//	reputation      the mail of one sender's domain to a site rests for 2
//	                hours, or all mail to it
//	authentication  the mail of one stream and sender's domain to a site rests
//	                for an hour, or to all sites: until its DNS records or keys
//	                are mended, nothing but the operator helps
//	greylisted      the next attempt is made when such hosts like it: see
//	                Greylisted of delivery.Retry
//
// A site is a set of mail exchangers, whatever the domains that have it, or the
// hosts of a send connector; each source address counts by itself. The sender's
// domain is that of the reverse-path.
//
// One refusal is not a site's. They are counted by message, within an hour, and
// each copy that is taken takes one back, so that they count only while more is
// refused than taken: three begin a rest. All of a site's mail rests, or a
// stream's at all sites, after six that are of two senders' domains, or two
// providers of Shaping (of other sites anybody can have as many as it takes),
// and a refused connection counts twice. For its rate alone one refused
// connection is enough, or one refused MAIL.
//
// A rest is no fate. What waits is told of and expires by its age, as ever,
// also untried: others of its kind were refused. But what had reached its age
// before they were waits for one to be tried after the rest. When that is over,
// one delivery tries: if it is taken the others follow, and if it is refused
// for the same reason the next rest is twice as long, up to 4 times the first.
//
// Each of these is a throttle: it is an event, [event.Throttled], in the step
// that settles the attempt, or a later one; it has lines in the log;
// [Relay.Throttles] and the page of package admin list it, and [Relay.Describe]
// shows how mail leaves meanwhile. [Relay.LiftThrottle] ends it, and what it
// has held back goes within a second, or a hundredth for each delivery that
// waits so. KeepGoing of [Config].Shaping turns all of this off.
//
// Only what remote hosts reply to the relay's own client counts: not its own
// findings, not what a Transport or Mailboxes answer, and no text that a
// message or a report carries. Throttles live as long as the process, at most
// 1024: those that end first make room. Relays on one store learn each alone.
//
// # Several relays
//
// Relays in several processes may share a spool that has a [spool.Nodes], such
// as that of package pgspool, in PostgreSQL. Each delivers what is due. What
// one was busy with when it died, or lost its way to the spool, goes out again
// when [Config].LeaseTime has passed. A relay that could not tell the spool for
// so long that it lives ends its attempts and begins no other before it has: it
// delivers nothing that it cannot record any more. What a next hop has taken by
// then may be sent twice.
//
// The relays count each other every few seconds, and each has its part of the
// connections that a destination gets, one at least. As relays come and go the
// parts follow; [Relay.Nodes] tells how many there are. MaxDeliveries counts
// for each relay alone.
//
// If the spool has a [spool.Shared], what counts over time counts for all of
// them: the MessageRate of connectors of one name, and the failed logons of
// sources and users, if [Config].Verifier is set. No command waits for that. A
// relay tells the others every quarter of a second what it has admitted, so
// that a client of several relays may have more than its rate by what they
// admit meanwhile. Failed logons wait for the spool, for a second or two at
// most. While the spool fails each relay counts alone. The clocks of the hosts
// ought to agree to a second or so. Give the spool as the Counter to an
// [auth.Throttle] and an [auth.Keyring] of your own. Connections, their rate,
// places for mail being received, and the crowds of NATGuard are each relay's
// own.
//
// One of the relays that follow a consumer of events gets them; see
// [Relay.Follow].
//
// Each relay has its own configuration. Mail for a send connector, Mailboxes or
// a Transport that another one has and this one has not is left to that one; so
// is mail that matched no send connector, by a relay that has none for all
// domains to one that has. When the other one is gone, and has not come back
// after LeaseTime, the mail is routed anew by those that are left. So
// connectors may be added and removed while relays are restarted one after the
// other. Those of one name ought to lead to the same place.
//
// # DNS
//
// Without a [Config].Resolver the relay asks the servers of /etc/resolv.conf,
// which is read again when it changes, and keeps answers for as long as their
// TTL says, a day at most. /etc/hosts goes first for addresses, and the search
// list is for hosts of the configuration alone. Of DNSSEC it believes a server
// on this host but Docker's, and with "options trust-ad" in resolv.conf any.
// Without that file, as on Windows, the standard library's resolver is asked
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
//	a relay that has died, for its deliveries  2 minutes, or LeaseTime
//	the scheduler, for Describe                5 seconds
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
// untried; of what a throttle holds back see Throttling.
//
// # Events and crashes
//
// [Config].Events hears of everything while the process runs, soon and at most
// once, in the order in which it happens to each recipient. When it is so slow
// that 16 MiB of events wait, 8 MiB for refusals, more are dropped, and the log
// has their number. That is good for pages and figures. What an application
// must not miss it reads by [Relay.Follow] from the log of the store, which
// [Config].EventLog turns on. There each event lies in the step that made it
// true, so that after a crash, at whatever point, every accepted recipient has
// exactly one fate, and a consumer goes on where it was. Of several processes
// that share a store one follows a consumer, and another takes over.
//
// A failure has a class, of package bounce: what kind it is, whatever the words
// of the host. Deferred and Bounced have that of the attempt, Expired that of
// the last failure, and [Relay.Status] tells it of those that wait. An
// application acts on the class, shows the Text, and goes by the kind for
// whether it is for good.
//
// A report to a sender is a message too, with events of its own: they have
// ReportOf and no labels, and its recipient is the sender. An application that
// keeps what became of its messages passes over events with ReportOf.
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
// one event at a time. Shutdown may be called from them. Functions that get a
// context have a minute to answer, a Transport as long as an attempt may last.
// One that panics or does not return by then is left alone, counts as a
// temporary failure and holds up nobody; while 1000 of a kind have not
// returned, nobody is asked. Run, Shutdown and Close end at their limit all the
// same, and tell what they left.
//
// # Shutting down
//
// End the context of [Relay.Run], wait until it returns, then close the spool,
// in this order: Run lets sessions and deliveries under way finish within
// [Config].DrainTimeout, hands over their events, and what is not delivered
// stays in the spool. Leave it the time: a process that is killed before loses
// nothing, but may send again what was under way.
//
//	ctx, stop := signal.NotifyContext(
//		context.Background(), os.Interrupt, syscall.SIGTERM,
//	)
//	defer stop()
//	err = errors.Join(r.Run(ctx), store.Close())
//
// An application with more to end than the relay calls [Relay.Shutdown] itself
// and then waits for Run. A Follow goes on until its own context ends: end it
// before the spool is closed.
//
// # Testing
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
// At Info there is a line for each logon, each accepted message and each
// refusal, with the id of its session, for each recipient that bounced or
// expired, for the first deferral of a message, for each connector that is
// listened for, and, where processes share a store, for each turn at following
// a consumer; at Debug for all other deliveries. The keys of its lines are, one
// for each concept: address, addresses, attempt, certificate, class, code,
// command, connector, consumer, credential, cursor, domain, dropped, enhanced,
// err, errors, expires, file, from, helo, host, kind, local, mechanism,
// messages, name, next, panic, pause, proxy, queue_id, reason, recipients,
// refused, remote, reply, report, retry, sender, session, share, site, size,
// source, stack, stage, stream, throttle, tls, to, user. Errors are under err,
// ids of messages under queue_id and those of sessions under session. A line
// has no key without a value. Lines at Debug about connections to next hops
// have further keys.
package relay
