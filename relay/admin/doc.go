// Package admin shows the state of a relay to those who run it: a page for
// people and the same as JSON for programs.
//
//	GET  /         the page
//	GET  /status   what it shows, as JSON
//	POST /explain  how the relay would decide on a session, as page or JSON
//	POST /lift     ends a throttle
//	POST /retry    tries a message again that was set aside
//	POST /remove   removes a message that was set aside
//
// It shows no messages but the queue ids of those that were set aside since
// attempts crash (Poison of package relay), and no addresses of theirs. It
// changes no others, and nothing but for those that Config.Operate lets.
//
// [New] makes the [http.Handler]. Every link in it is relative; use
// [http.StripPrefix] to serve it elsewhere than at the root. Each request reads
// the relay anew, so the page follows [relay.Relay.Reload]. The page is one
// file without scripts, and takes nothing from other hosts.
//
// # Who may look
//
// The handler is closed by default: it needs a Verifier for HTTP Basic
// authentication (RFC 7617), or Authorize, the application's own session logon.
//
// Where [relay.Config].RequireEncryption is set, a request is answered inside
// TLS or from a loopback address only, and by way of a proxy elsewhere only if
// that comes inside TLS too. Basic credentials are held to the same without it,
// since they show a secret: everything else gets 403 before they are looked at.
// With Authorize and without RequireEncryption that is left to the application.
//
// Whoever may look changes nothing, unless Config.Operate says so too. What a
// browser posts must come from a page of this handler's own origin, by its
// Sec-Fetch-Site or Origin: pages of other sites cannot act in an operator's
// name. A program sends neither, and needs no token.
//
//	401  no credentials, wrong ones, or a user outside the Group: the answer
//	     does not tell which
//	403  no TLS, a forwarded request of an unknown proxy, Authorize or Operate
//	     said no, or a form posted by another site
//	429  too many failed logons; Retry-After tells when to come back
//	503  the Verifier could not decide; the cause is in the log
//
// X-Forwarded-For and X-Forwarded-Proto are believed from Config.Proxies only;
// from anybody else a request with them is refused. TLS up to a proxy counts as
// the proxy says it does, X-Forwarded-Proto, and from there on as it is. A
// proxy on this host has to set both: what it passes on without them comes from
// a loopback address, or is refused with Config.RequireForwarded.
//
// # GET /status
//
// The answer is an object. Words are those of the types' MarshalText. A list is
// an object: "items" is its beginning, and "more" counts the items left out.
//
//	hostname          the relay's name
//	load              level, queue, memory, disk; the last three are objects
//	                  with level and value: deliveries, bytes in use, bytes
//	                  free; -1 is unknown
//	queue             messages, deliveries, leased, bytes; null if the store
//	                  cannot tell now
//	relays            live: how many share the spool; rank: of this one, 0 for
//	                  the one that has run for longest
//	connectors        list of receive connectors, in the order of the
//	                  configuration: name, usage, bindings (list),
//	                  remote_ranges (list), auth_mechanisms,
//	                  permission_groups, tls, grants, limits
//	  tls             "implicit", "STARTTLS required", "STARTTLS offered" or
//	                  "none"
//	  grants          list of principal, rights, deny
//	  limits          max_message_bytes, max_recipients, max_connections,
//	                  max_connections_per_source, connection_rate and
//	                  message_rate, both a minute, message_rate_by; -1 is no
//	                  limit
//	accepted_domains  list of domain, type, match_subdomains
//	send_connectors   list of name, address_spaces (list), smart_hosts (list),
//	                  port, tls, implicit_tls, logs_on, max_message_bytes (0 is
//	                  no limit), max_connections; never a user name or password
//	sites             list of where mail goes to, the busiest first: name,
//	                  provider, source, under_way and limit (attempts),
//	                  waiting (leased ahead), connections, share (of the rate,
//	                  1 is all), rests_until (null if it does not rest),
//	                  failure (the last: time, class, code, enhanced, text,
//	                  host; null if there was none). See relay.Site
//	throttles         list of what the relay does by itself because it was
//	                  refused: id, class, site, source, stream, sender, share
//	                  (0 is a rest), begun, until, times, and of the refusal
//	                  code, enhanced, text, host. See relay.Throttle
//	poison            copies: how many are set aside of the first 1000
//	                  deliveries that are; items and more of their messages,
//	                  the oldest first: queue_id, stream, accepted, copies,
//	                  crashes. null if the store cannot tell, or not within 5
//	                  seconds. See relay.Relay.Poisoned
//
// # POST /lift, /retry and /remove
//
// The body is a form or an object with the field id: of a throttle, or the
// queue id of a message of which copies are set aside. To try it again is
// [relay.Relay.Reschedule] for now, to remove it [relay.Relay.Cancel]: all
// copies that wait, also those that are not set aside. Nobody is sent a report
// of that.
//
// A form is answered 303 to the page, JSON 204; both 404 if there is none of
// that id any more, 409 while an attempt at the message is under way, and 403
// if Operate does not let the request.
//
// # POST /explain
//
// The body is a form (application/x-www-form-urlencoded) or an object
// (application/json) of at most 64 KiB with the fields
//
//	remote     the client's address; required
//	connector  the name of a receive connector, which stands for its first
//	           binding of the client's family; or
//	local      the address and port that the client connects to
//	tls        true inside TLS
//	user       who has logged on, as an identity without groups and further
//	           senders; empty for nobody
//	from, to   addresses; from is empty for the null sender, to to leave RCPT
//	           out
//	size       octets of the message; empty or 0 if unknown
//
// A JSON body, or one with Accept: application/json, is answered in JSON;
// everything else with the page.
//
//	connector    the name of the one chosen; empty if the connection is closed
//	permissions  its permission groups, with Custom if grants depart from them
//	principal    who the session is
//	domain, type, recipient, route
//	             the accepted domain of to and its type, what is known of the
//	             recipient, where its copy would go
//	candidates   list of name, chosen, reason
//	rights       array of right, granted, reason
//	replies      array of command, code, enhanced, text, reason: up to the
//	             first refusal
//	refused      whether there is one
//
// Fields that are not valid are answered 422; in JSON that is a problem (RFC
// 9457) whose "errors" hold field and detail. The cause of a temporary refusal
// is the application's, and goes to the log instead of "reason".
//
// # What is left to the server
//
// Time limits are those of the [http.Server]. There is no CORS: pages of other
// origins cannot read the answers.
package admin
