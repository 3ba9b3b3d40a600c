// Package outbound delivers messages to next hops: the client side of SMTP (RFC
// 5321) and LMTP (RFC 2033).
//
// # Where to
//
// A Request goes to the hosts of a connector.NextHop, or without any to the
// mail exchangers of its Domain. Smart hosts rotate by connection: of three,
// the first connection tries 1, 2, 3, the second 2, 3, 1, the third 3, 1, 2.
// Exchangers are tried by preference, equal ones in random order, at most 5
// hosts and 10 addresses. A domain without MX is its own exchanger; one with a
// null MX (RFC 7505), and one whose best exchanger is this host, is a permanent
// failure. An exchanger is this host by its name, as an alias of it, or with an
// address at which this host listens, and then neither it nor those as good or
// worse are tried (RFC 5321 section 5.1); that it is known by another name
// counts from the time at which it was found out, for an hour. Other aliases
// are followed, of domains and of exchangers.
//
// The addresses of a host are dialled side by side (RFC 8305), its families in
// turn, that of the first address in the resolver's order ahead: IPv4 with the
// relay's own, because many hosts ask more of who comes by IPv6. Each has 250
// ms to connect until the next is dialled beside it, 8 at a time at most. The
// first that connects is the one spoken to, and the others are given up; those
// that began before it come last for 5 minutes. If it fails later, those that
// have not failed have their turn.
//
// Whoever could not be reached comes last for 30 seconds, and whoever
// lets connections wait as "Slow hosts" says. A smart host is host, host:port,
// an IP address or unix:/path; its name is looked up as an address only, and
// may be one that a search list completes.
//
// A domain is unknown for good only if its MX and its addresses are not found
// (delivery.IsNotFound) and it is no alias. Every other answer may pass.
//
// The DNS of a stranger, and an address literal, do not lead to loopback,
// link-local, private or shared addresses, in whatever form they are written,
// unless AllowPrivateAddresses is set, and to unspecified and multicast ones
// never. An address at which this host listens is a loop.
//
// # Fail-over
//
// The next address is tried as long as no recipient has an answer: after a
// failed look-up, dial, greeting, EHLO, TLS handshake or logon, a 421 or 432
// to MAIL, and a connection lost before MAIL was accepted. When all fail, the
// failure is permanent only if all of them said so. Once MAIL is accepted the
// answers stand.
//
// Nothing fails by the state of a connection. On one used before, a refusal of
// MAIL whatever its code, 500 to 504, 530 and 554 to RCPT or DATA, a failed
// RSET, and a break before the end of the content count for the connection: a
// new one is tried once, and its answer stands.
//
// # Clocks
//
// What comes before MAIL, over all addresses of all hosts, has one clock of 2
// minutes. Inside it a look-up has 30 seconds, dialling 30, the greeting a
// minute, the TLS handshake 30 seconds. Waiting for one of MaxConnections to
// come free has 2 minutes of its own. From MAIL on, each reply has 5 minutes,
// each write of content 3, and the reply to the message 10 (RFC 5321 section
// 4.5.3.2).
//
// # Slow hosts
//
// A smart host on which a connection has waited for a second, and an exchanger
// after 10 seconds, comes last for 5 minutes. When it is tried after that, it
// counts as slow until it has answered: one delivery finds out, the others go
// elsewhere. Of smart hosts, those on which fewer connections wait come first.
//
// A next hop that lets in a connection and then refuses to serve it, at the
// greeting, by 421 or 432 to MAIL or by closing, or refuses to be dialled,
// while others of this client are open, takes no more of them: the delivery
// waits for one of those, and no more are made for a minute.
//
// # The transaction
//
// With PIPELINING, MAIL, RCPT and DATA go out in one write, with up to 100
// recipients, and while all are taken the rest in writes of twice as many each
// time, up to 400. A peer that answers them by 503 gets them one by one for an
// hour. Where CHUNKING is offered BDAT carries content of one chunk, 48 KiB,
// and more of them, in a row, to a peer that has shown that it skips refused
// ones: to another each would wait for the one before, so DATA carries it, as
// where CHUNKING is not offered. To a peer that takes it, content goes as it
// is. DATA doubles leading dots, as it must, and ends content that has no CRLF
// at its end with one, as it cannot do otherwise; content with a CR or an LF on
// its own is not sent by DATA at all, but fails, because the next hop could
// read it as the end of the message. Where that is found out in the midst of
// DATA and CHUNKING is offered, the message goes by BDAT on another connection.
// BINARYMIME content goes by BDAT from the start. SIZE, 8BITMIME, BINARYMIME,
// SMTPUTF8 and DSN are used only when offered, and what cannot be delivered
// without them fails before anything is sent. LIMITS (RFC 9422) is honoured.
//
// The first recipient refused as one too many, by 452 or 552 without an
// enhanced code, by x.5.3, or by a 452 that does not speak of the mailbox, ends
// the list: those taken get their copy, and the others go into further
// transactions of that many, at once on another connection if the peer hung up
// over it, also by 421 alone. The number is remembered for an hour for the
// address.
//
// # Ahead of the last reply
//
// While a message waits for its last reply, its connection is idle on the way
// out. Where no connection is free and none may be made, the next delivery goes
// ahead on one whose host has given its last reply within a second: it writes
// its MAIL, RCPT and DATA behind the content (RFC 2920), and reads when its
// turn has come. So with PIPELINING a message costs one round trip. To a host
// less than 2 ms away nothing goes ahead: its connections lose nothing, and
// each delivery in its own turn costs less.
//
// Where a reply is waited for and nothing was written since the one before,
// that one is acknowledged at once (TCP_QUICKACK, on Linux): many hosts keep a
// reply back until the one before is acknowledged, which takes 40 ms else.
//
// With CHUNKING whole messages of one chunk follow each other, up to 8
// on a connection, and none behind 64 recipients. Each ends with RSET, since
// one that nobody takes leaves its transaction open. For that the peer must
// have shown on this connection that it skips the octets of a chunk that it
// refuses: a peer that runs them as commands could be made to take mail that is
// written in them. It is asked when a delivery goes ahead for the first time,
// on the way: MAIL, a short BDAT for nobody and RSET must give exactly one
// refusal. One that fails goes on without, and is not asked again for an hour;
// one that loses step, or breaks off, gets nothing ahead for ten minutes.
//
// What has sent no content leaves a connection after 5 seconds behind others,
// or when it ends in front, and is made once more, then in its own turn. What
// has sent all may have arrived when the connection is lost: it fails for now,
// as any lost reply does. Behind a 421 nothing is taken (RFC 5321 section 3.8),
// and all goes to another connection at once. The end of a context in front
// leaves the others their connection: who comes next reads the replies that are
// left.
//
// Replies tell nothing of what they are for. A reply too many or too few shows
// by 354, which only DATA gets, and by the enhanced codes that most peers give
// to MAIL (x.1.0) and RCPT (x.1.5) alone; then none of the transaction counts.
// Several recipients that are all refused are confirmed by RSET. A peer without
// enhanced codes that answers twice cannot be found out.
//
// # 8-bit content
//
// For a peer without 8BITMIME the content is read once more, before MAIL. If it
// is 7-bit it goes out as it is, whatever was declared; otherwise as 7-bit
// MIME, made on the way (RFC 6152 section 3), and without SIZE. So does
// BINARYMIME content to a peer that does not take it. Raw 8-bit header fields
// become encoded words; what claims an encoding that it has not goes out as it
// is, as Postfix has it. A permanent failure is the 8-bit header of a message
// that was accepted with SMTPUTF8 (5.6.7), and BINARYMIME content that can
// neither be encoded nor carried by DATA (5.6.3). A peer with 8BITMIME gets all
// of it unchanged, and nothing is read twice for it; one with SMTPUTF8 gets the
// 8-bit header of BINARYMIME content that was accepted with SMTPUTF8, and the
// rest as 7-bit MIME.
//
// The conversion breaks signatures over what it changes. Those that this host
// has put on the content ([Request].Signatures) are taken off and made again,
// which reads the content once more; those of others stay, broken. A sender who
// wants its own to last encodes its text itself.
//
// # TLS
//
// TLSOpportunistic takes STARTTLS when offered, checks nothing, and goes on in
// the clear, on a new connection, when the handshake fails or TLS breaks before
// MAIL is answered. TLSEncryptionOnly checks nothing either, but does not
// deliver without TLS. TLSCertificateValidation checks that the chain leads to
// a trusted root, not the name in the certificate; TLSDomainValidation checks
// the name too, which is TLSDomain or else, for exchangers, the recipient
// domain, and for smart hosts the host. Revocation is not checked. Sessions are
// resumed for an hour after the handshake that has shown the certificates, by
// the settings that made them and at the address that gave them, and checked
// again each time; where that breaks the handshake is made in full. At most 500
// are kept, none with more than 32 KiB of certificates. A failure of TLS or of
// AUTH is temporary whatever the peer's code: it is for the operators to mend
// while the mail waits.
//
// # Logging on
//
// Of what a host offers the first of these is tried: with a password
// SCRAM-SHA-256-PLUS, SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN, only one of
// them a SCRAM; with a source of tokens OAUTHBEARER, XOAUTH2; with a
// certificate alone EXTERNAL. SCRAM-SHA-1 comes before PLAIN because it shows
// no password; others of SHA-1 or MD5 are not spoken. Channel binding is
// tls-exporter in TLS 1.3 and tls-server-end-point below.
//
// Behind a refusal by 504 or 534 the next one is tried, behind 535 to a
// password one more, and the one that was taken comes first for an hour. A host
// that does not prove by SCRAM that it knows the password is shown it by no
// other mechanism.
//
// A token that is refused is replaced once, on the same connection, or on a new
// one if the host hung up. Its source is asked before the host is connected to,
// once at a time for a next hop, and has 30 seconds; a failure of it stands for
// 30 seconds.
//
// Until a host has taken the password or token one connection tries it and the
// others wait to hear; a host that refused it is not asked again for 30
// seconds.
//
// # Connections
//
// Connections and rotation are kept by all that a NextHop says: equal settings
// share them, whoever gave them, and none uses a connection that others made.
// Exchangers are a site, whose connections are for all domains that have the
// same ones with the same preferences, as far as this host may use them; only
// where the certificate must have the name of the domain, with
// TLSDomainValidation and without TLSDomain, are they the domain's own. What
// the DNS has said of a domain counts for 5 minutes in this, and while the DNS
// fails for longer; [Client.Site] tells it for a day, of 25,000 domains at
// most.
//
// A next hop begins with 5 connections. While deliveries wait for one, each
// that is delivered adds another, up to MaxConnections: a host 50 ms away has
// 100 within 2 seconds. Once it was slow or has refused one, as many deliveries
// as there are connections add one. While it is slow as many take an eighth
// away, down to 5. It is slow where they take, on average, more than twice what
// they took at best, for content as large, and half a second more: then they
// wait for each other inside the host, and more connections do not help. One
// that is no quicker with 5 is so by nature, and what it takes then counts as
// its best. Without a connection for a minute it begins anew.
//
// A connection ends after MessagesPerConnection, or fewer if Config.Messages or
// the peer says so (RFC 9422), once it is as old as ConnectionAge, and when it
// was not used for IdleTimeout.
//
// With a SourceAddress connections are made from there alone, and to addresses
// of its family: those of the other one count as if they did not exist.
//
// # Concurrency and resources
//
// A Client is safe for concurrent use and makes no goroutines but those that
// close idle connections, those that dial a host with several addresses, and
// one for each next hop whose source of tokens is being asked. At most 100
// connections stay idle in all, for their IdleTimeout. A delivery in progress
// holds one buffer of 64 KiB, however large the message or the number of its
// recipients. A reply is limited to 64 KiB in 128 lines of 4 KiB, of which 2
// KiB are kept.
//
// # Security
//
// A peer is not trusted to read, to answer in time, to end its replies, or to
// keep in step: every write and every reply has a deadline, and an idle
// connection on which something was said is not used again. Addresses and
// parameters with control characters, or that could end the angle brackets,
// fail without being written. Passwords and tokens go over TLS
// only, unless AllowPlaintextAuth, and are never logged.
package outbound
