// Package policy answers "may they?": what a client may do, by its connector,
// its rights and its identity, and which recipients exist. It knows the
// commands of a session (MAIL, RCPT, AUTH), the fields From and Sender, TLS,
// quotas, rates and the load; and it has the table of all replies that the
// relay itself gives, see [ReplyID].
//
// Nothing here reads a socket or a message: a decision gets what it rests on
// and returns nil, or the [*Reply] that refuses. What the application is asked,
// it is asked through [Calls], so that it holds up nobody.
package policy
