// Package dns looks names up for the relay: the caching resolver behind
// relay.Config.Resolver when an application sets none. It asks the servers of
// the system and leaves recursion and DNSSEC to them.
//
// # What is asked
//
// The servers, timeout and attempts of /etc/resolv.conf hold, which is read
// again when it changes. Questions go out by UDP from a port of their own each,
// with EDNS0 for 1232 bytes, and again by TCP when the answer is cut short or
// cannot be read. A server that failed of late is asked last for half a minute.
// A question has 30 seconds in all, whoever waits for it. One that is asked by
// many at once goes out once, and no question waits for another.
//
// # What is believed
//
// An answer counts if it comes from the server asked, with the id and the
// question that were sent; what else arrives is ignored, and the wait goes on.
// Records count in the answer section only, of the name asked for and of its
// aliases. Aliases are followed for 8 steps. Of thousands of records the best
// 64 are kept. Names of hosts with other bytes than letters, digits, hyphens
// and underscores are left out, with an error beside the others.
//
// The answer is authentic if it says so (AD) and the server is on this host, at
// a loopback address, or resolv.conf has "options trust-ad": on any other way
// somebody could have set the bit. Docker's server at 127.0.0.11 is not on this
// host in that sense: it passes on what the servers behind it say.
//
// # What is kept
//
// Answers are kept for as long as their shortest TTL says, for a second at
// least and a day at most; that there are no such records for as long as the
// SOA record says (RFC 2308 section 5), at most 15 minutes, and 5 seconds
// without one; failures for 3 seconds. At most 10,000 answers and 8 MiB are
// kept.
//
// # Hosts
//
// /etc/hosts goes before the DNS for addresses, and localhost is this host
// wherever it is not listed. The search list is for hosts of the configuration
// alone ([Resolver.LookupHost]): a domain in an address must not become one of
// this network. Other sources of names, such as mDNS and LDAP, are not asked.
package dns
