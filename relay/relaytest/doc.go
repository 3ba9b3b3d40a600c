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
//		app.Enter(m.Code(t, ""))
//		kit.RequireNotSent(t, relaytest.To("mallory@example.com"))
//	}
//
// Mail is delivered by goroutines of the relay: what the application has sent
// is in the inbox a moment later, so Require and Wait functions wait for it,
// and [Kit.RequireNotSent] until nothing is on its way any more.
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
// take no time. Sleep until what is tested is due, then ask: the functions that
// wait do so for [Patience], which is less than any retry takes.
//
//	func TestGivesUp(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			kit := relaytest.New(t, func(c *relay.Config) {
//				c.SendConnectors = []*connector.SendConnector{
//					{Name: "out", AddressSpaces: connector.AllDomains()},
//				}
//			})
//			kit.DNS.MX("example.com", 10, "mx.example.com")
//			kit.DNS.Host("mx.example.com", "192.0.2.25") // where nobody answers
//			kit.DNS.Host("shop.example.com", "192.0.2.26")
//			home := &relaytest.Hop{Address: "192.0.2.26:25"}
//			home.Start(t, kit.Net)
//			app := shop.New(kit.Relay)
//			app.SignUp("anna@example.com")
//			time.Sleep(49 * time.Hour)
//			reports := home.Wait(t, 2) // of the delay, and of the end
//			app.HandleReport(reports[1].Content)
//		})
//	}
//
// For the events set Config.Events. It is called from a goroutine of the relay,
// so hold a lock where the test reads what it keeps.
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
