// Package smtpd is the receiving side of the relay: an SMTP server that asks a
// [Backend] about everything that is not protocol.
//
// A [Server] accepts connections, matches each with its connector and serves it
// on a goroutine of its own. A conn is one connection with the session on it.
// Its parts are the wire (the socket with its clocks, its input cut into lines,
// its replies gathered into one write), the transaction, and the counts. Every
// command has a file; content is read by its framing, DATA or BDAT. There is no
// other state than that of the conn: a command is read, carried out and
// answered before the next is looked at.
//
// # Who the client is
//
// A connection from a listed proxy begins with a PROXY header, read within five
// seconds on the session's own goroutine; before it there is neither a
// connector nor a word to the client. From then on the addresses in it are the
// client's. A host that may use XCLIENT, which is decided by the address it has
// itself, begins a new session on its connection with it: what the earlier one
// held is given back, what it proved is forgotten, TLS aside. What is counted
// on the connection goes on. A client is named once: later XCLIENT commands may
// be its own, passed on by a proxy that reads no more, and end the connection.
// When no connector takes the new client, the connection ends: it never falls
// back to the rights of the proxy.
//
// Connectors on which a certificate counts ask for one without insisting. The
// server verifies it, so that one that is not good does no more harm than none.
//
// # Logging on
//
// Package auth runs the mechanisms. A Logon is one attempt, also of a client
// that does not speak SMTP. The decisions about a user whose secret is good
// (may such a user log on here, what could it do, does the application agree)
// are made inside the exchange, before the client learns anything: where they
// refuse in the words of a wrong password, the Throttle counts a wrong password
// and a SCRAM client gets no proof. What the client may bind its logon to is
// the TLS connection of the socket; after XCLIENT there is nothing.
//
// Verifiers are asked on a goroutine of their own, since they may ignore their
// context (see policy.Calls). When the time for an answer is over, the session
// goes on without it, and its place in the Throttle is free; what comes then is
// dropped unseen.
//
// # Framing
//
// A command ends with CRLF and has at most 2,048 octets, a SASL line and AUTH
// itself 12,288. A bare CR or LF or a NUL makes the whole command invalid.
// Content sent with DATA ends with CRLF.CRLF and with nothing else; content
// sent with BDAT ends where the client said. When content breaks off, the
// reader of it gets an error that is not io.EOF, and the connection is closed.
// It is closed as well when content comes behind a refused DATA, which is the
// last command of a group (RFC 2920 section 3.1), and when a client speaks
// before the banner: the next line may be one that somebody wrote into a
// message.
//
// # Clocks
//
// A command must be complete within the inactivity timeout, however its octets
// trickle in. Content must not pause longer than that and must come faster than
// 128 octets a second after a grace of ten minutes. The whole connection ends
// at the connection timeout. Each write to the client has a deadline.
//
// # Concurrency
//
// The calls of a Backend for one session never overlap. A panic in one ends
// that session only.
package smtpd
