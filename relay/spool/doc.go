// Package spool is the contract between a relay and the store of its queue.
//
// A [Message] is content and origin, written once. A [Delivery] is one key's
// share of a message: a group of recipients with one schedule. A [Store] keeps
// both, hands deliveries out when they are due, and forgets a message when its
// last delivery is settled.
//
// # Life of a message
//
//	Create, Write…, Commit     visible and durable, or neither
//	Lease, Open, Settle        attempted: finished, or due again later
//	Lease, Return              not attempted: nothing changes
//
// # Keys
//
// Deliveries are grouped by [Key]: the route, the domain where the route
// resolves it, and the application's stream. The relay decides which keys get a
// share of its places and names them in a [LeaseRequest]; there, a key without
// a stream stands for all streams of its route and domain.
//
// # Leases
//
// Lease gives each delivery to one holder, with a random [Lease].Token. The
// lease ends after its TTL unless Renew prolongs it, which takes all leases of
// a holder in one call and tells which are lost. Settle and Commit answer
// ErrLeaseLost to whoever does not hold the lease any more: of two holders,
// one can settle. A lease that has ended may still be renewed or settled while
// nobody else was given the delivery.
//
// # Time
//
// The store owns the clock that ends leases. It goes by durations, so that
// neither a step of the wall clock nor a difference between the clocks of two
// hosts ends one. Due and Expires are times of the wall clock, because people
// mean those; a Settlement gives a duration, Wait, or a time, Due.
//
// # One step
//
// A Commit may carry more than a message: settlements of other deliveries, such
// as those that its report is about, events for the log, and an idempotency
// key. All of it happens in one step, or nothing does. The same is true of a
// Settlement and its events.
//
// # Durability
//
// When Commit returns nil the message survives the loss of the process and of
// power. Settling may be lost with the process: the delivery is then handed
// out again, which costs a duplicate and never a message. Its events are lost
// with it, and only then.
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
// # Optional parts
//
// A store has the parts that it can have; the relay looks for each:
//
//   - [Log] keeps events and the places of those who follow them;
//   - [Keys] keeps idempotency keys;
//   - [Manager] lists deliveries and leases a chosen one, to hold, release,
//     retry, move or remove it;
//   - [Shared] keeps counters and values with an end, for throttles and caches;
//   - [Waker] tells of deliveries that another process has added;
//   - [Expecter] leases what is expected in the step that commits it;
//   - [Recaller] has content of the last messages in memory;
//   - [Nodes] tells how many processes share the store;
//   - [Gauge] tells how much room is left;
//   - [Committer] commits in a step of somebody else, such as a transaction of
//     the application; a Store may be one itself.
//
// A wrapper that embeds a Store hides these parts, a Waker and a Gauge without
// a word: embed the type of the store itself, or declare what is to pass.
//
// # Writing a store
//
// Package memspool is the template: a file for each part. Package spooltest is
// the conformance suite; it tests each part that a store has.
//
// The contract suits an SQL table that is read with SKIP LOCKED. A lease is the
// token and the end in the row of the delivery, set by the statement that finds
// it: a lease in a table of its own is a race. One column may say when the
// delivery can be handed out next, which is Due, or the end of its lease, or
// that of Return. Settle and Renew compare the token in their condition. Commit
// is one transaction, and so is a Settlement with events. Make tokens random:
// after a fail-over to a copy that lags behind, a counter would give the token
// of one holder to another.
//
// The relay leases many deliveries at a time, asks at most every 10
// milliseconds where a call takes long, and renews every 30 seconds for two
// minutes. So what a killed process held is handed out again within two and a
// half minutes.
package spool
