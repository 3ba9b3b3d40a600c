// Package routing says where a recipient's copy goes, and hands it over: to the
// application's mailboxes, its transports, the smart hosts of a send connector,
// or the mail exchangers of a domain.
//
// A message is queued in one delivery for each spool.Key: its Route names the
// configuration and does not point at it, so that a later process, or a relay
// with another configuration, looks it up again.
//
//	mailbox          Config.Mailboxes
//	transport        Config.Transport
//	send/NAME        the smart hosts or the transport of a send connector
//	mx/NAME          the MX of the key's domain, by a send connector's settings
//	resolve          whether the recipient exists is asked at the attempt
//	unreachable      no send connector matched
//	toolarge         those that matched take no message of this size
//
// What a key led to may be gone, or known better, when the attempt comes: then
// each recipient is routed anew.
package routing
