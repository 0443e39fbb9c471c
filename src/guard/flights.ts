// One validation for all who ask the same at the same time: a whole company reconnecting, or a client that tries twice.
import { untilAborted } from '../oauth/shared.ts';
import type { Deadline, Verdict } from '../verdict.ts';

export interface Flights {
  /** What `ask` comes to, which another one may have begun; who joins that goes on by himself when it is given up. */
  share(name: string, signal: Deadline, ask: () => Promise<Verdict>): Promise<Verdict>;
}

interface Flight {
  readonly verdict: Promise<Verdict>;
  /** Of who has begun it: it ends when that one has run out of time. */
  readonly signal: Deadline;
}

export function createFlights(): Flights {
  const flights = new Map<string, Flight>();

  async function lead(name: string, signal: Deadline, ask: () => Promise<Verdict>): Promise<Verdict> {
    // Nothing is asked for who is not there any more.
    if (signal.aborted) throw signal.reason;
    const flight = { verdict: ask(), signal };
    flights.set(name, flight);
    try {
      return await flight.verdict;
    } finally {
      if (flights.get(name) === flight) flights.delete(name);
    }
  }

  async function share(name: string, signal: Deadline, ask: () => Promise<Verdict>): Promise<Verdict> {
    const flight = flights.get(name);
    if (flight === undefined || flight.signal.aborted) return lead(name, signal, ask);
    try {
      return await untilAborted(flight.verdict, signal);
    } catch (error) {
      if (signal.aborted || !flight.signal.aborted) throw error;
      return share(name, signal, ask);
    }
  }

  return { share };
}
