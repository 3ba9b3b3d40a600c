// Package relaytest is a kit for testing applications that embed a relay: a
// running relay, a network, a DNS, next hops and an inbox, all in memory.
//
// # Testing what the application sends
//
// [New] runs a relay whose mail lands in an [Inbox]. Give its Relay to the
// application, let it work, and ask the inbox:
//
//	func TestSignUp(t *testing.T) {
//		kit := relaytest.New(t)
//		app := shop.New(kit.Relay)
//		app.SignUp("anna@example.com")
//		m := kit.Inbox.RequireSent(t, relaytest.To("anna@example.com"))
//		app.Visit(m.Link(t, "https://shop.example.com/confirm"))
//	}
//
// # Testing clients
//
// The connectors of the relay listen on the kit's [Network]: [Network.DialFrom]
// connects to one of their bindings as any address, and package net/smtp speaks
// from there.
//
// # Testing hours in a moment
//
// Everything works inside a bubble of testing/synctest: there the clock runs
// ahead while all goroutines wait, so that retries, delay reports and expiry
// take no time.
//
// # Testing with hosts that fail
//
// A [Hop] is a next hop that answers as its script says: refuse a recipient at
// the first attempt, stall behind the content, end the connection. A [Zone]
// leads to it, and a [Fault] of the [Network] breaks the way.
//
// # Concurrency
//
// What has methods may be used from many goroutines, once it is set up.
package relaytest
