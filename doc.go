// Package postern is a mail relay for web applications to embed: a restricted
// anonymous relay for the remote addresses you name, authenticated submission,
// and accepted domains that decide who may be bounced, with a durable queue,
// delivery and bounces behind them.
//
// This package holds [FieldError] and nothing else. The packages are:
//
//   - connector: who may do what. Receive connectors with remote address
//     ranges, permission groups, extended rights and limits; send connectors.
//   - connector/exchange: the same from the JSON of an Exchange organization.
//   - domains: mailbox addresses, accepted domains, and which recipients exist.
//   - auth: identities, SASL mechanisms, and where users and credentials live.
//     Modules of their own hold what needs further libraries: auth/oidcauth,
//     auth/ldapauth, auth/shacrypt.
//   - auth/msgauth: DKIM signatures.
//   - auth/oauthclient, a module of its own: the tokens that a relay logs on to
//     smart hosts with.
//   - relay: the relay itself. Start here.
//   - relay/delivery: how mail leaves: what the relay and the transports of an
//     application say to each other; SMTP, Maildir and Mailbox.
//   - relay/httpapi: submission over HTTP, for applications not in Go.
//   - relay/autoconfig: settings for mail programs.
//   - relay/admin: a page and JSON for those who run the relay. They show where
//     mail goes; whom the application lets ends throttles there, and tries
//     again or removes what was set aside.
//   - relay/event: what happens to mail, in words.
//   - relay/bounce: the classes of failures.
//   - relay/relaytest: a relay, a network, next hops and an inbox in memory,
//     for the tests of applications.
//   - relay/spool: the contract of the queue's store, with filespool (durable,
//     one directory), memspool (volatile), spooltest (the conformance suite)
//     and spoolmove (a queue moves from one store to another).
//   - relay/spool/pgspool, a module of its own: the queue in PostgreSQL, shared
//     by any number of relays, and open to transactions of the application.
//
// The words are those of Microsoft Exchange's transport.
//
// # A relay on one screen
//
//	store, err := filespool.Open("spool", nil)
//	...
//	r, err := relay.New(relay.Config{
//		Hostname:       "relay.example.com",
//		Spool:          store,
//		Connectors:     []*connector.Connector{apps},
//		SendConnectors: []*connector.SendConnector{out},
//	})
//	...
//	go r.Run(ctx)
//	receipt, err := r.Submit(ctx, &relay.Message{
//		From: from, To: to, Content: content,
//	})
//
// The examples module holds complete programs.
package postern
