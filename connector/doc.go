// Package connector is the policy of who may do what: receive connectors for
// the connections that come in, send connectors for the mail that goes out.
// It opens no sockets and keeps no state; every answer is a function of the
// configuration and of what is asked.
//
// # Receive connectors
//
// A [Connector] ties local addresses (Bindings) and remote addresses
// (RemoteIPRanges) to rules. [Set.Match] finds the connector of a connection:
// the binding comes first, then the narrowest range that holds the remote
// address. [Connector.Rights] then says what the session may do: a session is
// anonymous until it has shown who it is, and what it is given afterwards
// replaces what it had. Users log on; the operator's own relays log on or show
// a certificate with a listed name (ServerNames); partners show a certificate,
// whose names can be mapped to their domains (PartnerNames).
//
// Rights come from permission groups, which are fixed bundles, and from grants
// to a principal. A denial wins over both. Everything is closed until it is
// opened: a zero Connector matches nobody and grants nothing.
//
// Two recipes cover what most applications want: [AnonymousRelay] lets listed
// hosts send anywhere without a password, [Submission] lets users send after
// they have logged on inside TLS. [New] makes a connector of one of five
// usages, which only fill in fields; nothing looks at the usage behind your
// back later, but for the default of [Limits.MessageRate].
//
// # Send connectors
//
// A [SendConnector] says how mail leaves for its address spaces.
// [SendSet.Select] chooses one for each recipient: connectors too small for the
// message drop out, then the most specific address space wins, then the lowest
// cost, then the name. Its [NextHop] says where to and how: the hosts, TLS, a
// password; its Transport names one of the application's own in place of that.
//
// # Where Exchange is silent, or differs
//
// Words, defaults and decisions are those of Microsoft Exchange. Where its
// manuals say nothing, contradict each other, or where another answer is safer,
// the choice is this:
//
//   - A binding to one address wins over one to all addresses, as the socket of
//     the operating system does, and a peer that is in none of its ranges is
//     not passed on to another binding: what is bound to an address of its own
//     stays closed to all others.
//   - A connection that no connector is for is closed without a banner and
//     logged. A stranger learns nothing.
//   - A range with a zone (fe80::1%11) is refused; see [ParseRange].
//   - [AcceptAuthoritativeDomainSender] is about authoritative domains only,
//     since addresses of a relay domain are also used by hosts beyond it. It is
//     checked on MAIL, and at the end of data on From and Sender, because those
//     are what people see.
//   - An anonymous session without [AcceptAnySender] may still use a sender in
//     an accepted domain.
//   - A denial takes away what a group gives, and wins over every grant.
//   - RequireTLS is answered 530 (RFC 3207) and not 451, which looks as if
//     waiting would help; without a certificate the relay does not start. A
//     wrong password is answered 535 5.7.8 (RFC 4954).
//   - Recipients beyond [Limits].MaxRecipients are answered 452 and the
//     connection goes on, so that the client can send them the message in a
//     second transaction. MaxHops and MaxLocalHops are those of the cmdlet's
//     page, 30 and 8.
//   - A header beyond MaxHeaderBytes is refused with 552 5.3.4, too many errors
//     end the session with 421 4.7.0.
//   - The usages Internet, Client and Internal only fill in bindings and
//     ranges; they may be changed.
//   - A send connector has no limit on the size of a message unless one is set,
//     and takes 20 connections at a time. Mail waits for the connector that was
//     chosen: it does not move to one of a higher cost when the first cannot be
//     reached, which would carry it past the way that was meant for it.
//
// # Errors
//
// [NewSet], [NewSendSet] and the Validate methods report every fault at once,
// joined with [errors.Join], each a *[postern.FieldError] that names its field.
//
// # Configuration files
//
// Every enumeration, bit set and range reads and writes text
// ([encoding.TextMarshaler], [encoding.TextUnmarshaler]), in the words of
// Microsoft Exchange, so that a file, a flag and a JSON document use the same
// ones. Case does not matter when reading.
//
// # Concurrency
//
// Sets are immutable and safe for concurrent use. A connector must not be
// changed after it has become part of a set.
package connector
