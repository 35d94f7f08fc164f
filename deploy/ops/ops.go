// Package ops is what every role owes its operator: a life that goes from starting to
// down, a read-only page with metrics and health, an admin socket, a log, and signals.
//
// A role uses it in this order: [LimitMemory], [PaceCollector] and [NewLogger] first, then
// [NewMetrics] and [NewAdmin], which its parts register with; [OpenPage] and [Admin.Open] before its
// own sockets, so that "starting" can be seen; [Run] around all of it.
package ops
