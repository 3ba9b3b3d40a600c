// Package filespool keeps the queue in one directory: the durable store of a
// relay that runs in one process.
//
// # The log
//
// Messages up to a threshold are records of an append-only log, which is a row
// of segment files. Longer ones have a file of their own, and their record
// holds the rest. Sessions hand finished records to one committer, which writes
// what has gathered, syncs once and wakes them. While it syncs, the next ones
// gather: many sessions share a sync, and a lone one waits for its own only.
// Settlements ride along, or are written shortly after.
//
// # Memory
//
// The index holds where a record lies and when a delivery is due. Addresses
// and content are read when they are needed.
//
// # Recovery
//
// Open reads the headers of the records and what they say of deliveries, but
// not the content, whose checksum is verified when it is read. What was being
// written when the machine stopped is cut off. Both this and damage are logged
// and listed by [Store.Recovery].
//
// # Events
//
// The events of a commit or a settlement ride in its record: one sync is enough
// for both. After the sync they are copied to files of their own (.events),
// from which they are read. A record goes only when the disk has its copies;
// before that Open makes those anew that a crash took. Without events none of
// this is done.
//
// A place in the log of events is the number of a record and that of the event
// in it. It stays the same, and none is given twice. [Store.Truncate] removes
// whole files; a file is added to for a day at most. The places of up to 1000
// consumers are in one file, which [Store.Advance] replaces.
//
// What is damaged is passed over, and a gap tells the reader. Damage of the log
// in which events may have been that were not copied yet counts as one.
//
// # Keys
//
// An idempotency key rides in the record of its commit and is copied like an
// event, to files (.claims) that go when the keys in them have ended. All keys
// in use are in memory as well, with their messages and digests, about 150
// bytes each: 150 MB with [spool.MaxClaims]. Scope and key stand in no file,
// only a digest of them.
//
// # Counters and values
//
// What [Store.Add] and [Store.Put] keep is in memory, up to 16 MiB of keys and
// values; beyond that what ends first goes. A file holds it, which is replaced
// five seconds after a change and by Close: a crash loses what came later.
//
// # Hand-over
//
// One process has the directory open. When a new version of an application
// starts while the old one still runs, set [Options].Wait in the new one: its
// Open waits until the old one has drained and closed the store, or has died,
// and finds all that was left. Without Wait it fails with [ErrLocked].
//
// # Damage
//
// One wrong byte of what is known of a message beside its content is put right
// by its checksum. More than that is passed over to the next whole record, and
// leased once with Damaged set, so that somebody hears of it. A message whose
// content is damaged or missing stays in the queue, and reading it answers
// [ErrDamaged]: its sender can be told.
//
// What was found in the place is kept in the directory, in a file whose name
// ends with .damaged and stands in the log. Nothing else reads or removes it.
//
// # Space
//
// Segments are given back from the oldest end, because a settlement counts as
// long as the message that it ends may still be found in the log. A segment
// that few messages keep from going has them copied to the end of the log.
//
// # Failures
//
// When the disk is full the commits at hand fail with [spool.ErrFull], and the
// store goes on when there is room again; so it does after a moment without
// descriptors, memory or threads. Settlements that could not be written are
// kept and written later. After a sync that was tried and failed nobody knows
// what the disk holds: Commit and Lease answer [spool.ErrFailed] until the
// store is opened anew.
//
// # Security
//
// The directory is made for its owner only (0700, files 0600). It must not be
// shared with anything else. Open refuses one that belongs to another user than
// the process's and root, that everybody may write to, or that has a symbolic
// link in the place of a file; so it does for the files in it. Where the group
// may write it warns. On Windows nothing is checked.
package filespool
