// Command bench-stores measures the queue in PostgreSQL: beside the same queue
// in a directory, beside River, a job queue that is known to be fast, and
// beside Postfix.
//
// It starts a PostgreSQL of its own with the settings it comes with, so that
// what is committed is synced, and gives each measurement a fresh database. In
// each round the subjects take turns; the figures are medians over the rounds.
// Rates are those of this machine in these minutes: the ratios, and the
// processor time for 1,000 messages, say more. That of the database is the time
// of all its processes, also of those that clean up; that of the client is this
// program's, or the relays'.
//
// The scenarios:
//
//   - accept: 100 sessions commit messages of 10 KB
//   - store: the same, while one process leases, reads and settles; without
//     events, with them in the log, and with a consumer that follows. River
//     inserts jobs that hold as much, and works on them
//   - relay: the whole relay, fed by smtp-source, to smtp-sink
//   - nodes: one relay on a database, then two
//   - backlog: a million deliveries for 10,000 domains; one is dead and has the
//     oldest 100,000
//   - outbox: a message in the application's own transaction, 200 times a
//     second
//   - snapshot: how long a lease takes while an old snapshot keeps dead rows
//
// Needs Linux, PostgreSQL's programs and Debian's package postfix; Postfix
// itself starts as root only. Everything lies in the folder for temporary
// files: set TMPDIR to one on a real disk. Ten minutes of snapshot take 10 GB.
//
//	go run .                       # all scenarios but snapshot, 3 rounds
//	go run . -quick                # a fiftieth of the messages, 1 round
//	go run . -scenario store -only pgspool -cpuprofile cpu.out
//	go run . -scenario snapshot -window 10m
package main
