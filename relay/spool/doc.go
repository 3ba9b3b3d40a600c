// Package spool is the contract between a relay and the store of its queue.
//
// A [Message] is content and origin, written once. A [Delivery] is one key's
// share of a message: a group of recipients with one schedule. A [Store] keeps
// both, hands deliveries out when they are due, and forgets a message when its
// last delivery is settled.
//
// # Life of a message
//
//	Create ─► Write… ─► Commit(message, deliveries)      visible and durable, or neither
//	Lease  ─► Open ─► (an attempt) ─► Settle             finished, or due again later
//
// # Durability
//
// When Commit returns nil the message survives the loss of the process and of
// power. Settling may be lost with the process: the delivery is then handed
// out again, which costs a duplicate and never a message.
//
// # Damage
//
// A disk may give back other than what was written, or nothing. A store that
// notices says so, and forgets nothing: a message whose content is damaged
// (ErrDamaged) is leased and settled like any other, so that its sender can be
// told. One whose envelope is damaged is leased once more with Lease.Damaged.
// An error that may pass, such as a lack of descriptors, is not damage.
//
// # Order
//
// If a Settle or a Commit was acknowledged before another began, no crash keeps
// the later one and loses the earlier one.
//
// # Concurrency
//
// Every method of a Store may be called from many goroutines at once, and for
// stores shared by several processes, from many processes. A Writer and an
// opened content belong to one goroutine.
//
// # Writing a store
//
// Package memspool is the template, package spooltest the conformance suite.
// The contract suits an SQL table read with SKIP LOCKED and a JetStream pull
// consumer: a lease is a row's owner and expiry, or an unacknowledged message;
// the token is a column of the row; Renew is an update, or a sign of work in
// progress; Return an update of the time, or a negative acknowledgement with a
// delay.
package spool
