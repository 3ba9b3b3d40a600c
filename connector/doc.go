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
// replaces what it had. Users log on; the operator's own relays log on or show a certificate with a
// listed name (ServerNames); partners show a certificate, whose names can be mapped to their domains
// (PartnerNames).
//
// Rights come from permission groups, which are fixed bundles, and from grants
// to a principal. A denial wins over both. Everything is closed until it is opened: a
// zero Connector matches nobody and grants nothing.
//
// Two recipes cover what most applications want: [AnonymousRelay] lets listed
// hosts send anywhere without a password, [Submission] lets users send after they
// have logged on inside TLS. [New] makes a connector of one of five usages, which only
// fill in fields; nothing looks at the usage behind your back later, but for the default
// of [Limits.MessageRate].
//
// # Send connectors
//
// A [SendConnector] says how mail leaves for its address spaces.
// [SendSet.Select] chooses one for each recipient: connectors too small for the
// message drop out, then the most specific address space wins, then the lowest cost, then
// the name.
//
// # Errors
//
// [NewSet], [NewSendSet] and the Validate methods report every fault at once,
// joined with [errors.Join], each a *[FieldError] that names its field.
//
// # Configuration files
//
// Every enumeration, bit set and range reads and writes text
// ([encoding.TextMarshaler], [encoding.TextUnmarshaler]), in the words of Microsoft
// Exchange, so that a file, a flag and a JSON document use the same ones. Case does not
// matter when reading.
//
// # Concurrency
//
// Sets are immutable and safe for concurrent use. A connector must not be
// changed after it has become part of a set.
package connector
