// One validation for all who ask the same at the same time: a whole company reconnecting, or a client that tries twice.
import { untilAborted } from '../oauth/shared.ts';
import type { Deadline, Verdict } from '../verdict.ts';

export interface Flights {
  /** What `ask` comes to, which others may have begun. It is given up when nobody waits for it any more. */
  share(name: string, signal: Deadline, ask: (signal: Deadline) => Promise<Verdict>): Promise<Verdict>;
}

interface Flight {
  readonly verdict: Promise<Verdict>;
  join(signal: Deadline): void;
}

export function createFlights(): Flights {
  const flights = new Map<string, Flight>();

  function start(name: string, ask: (signal: Deadline) => Promise<Verdict>): Flight {
    const aborter = new AbortController();
    let passengers = 0;
    let deadlineAt = Number.NEGATIVE_INFINITY;
    const signal = Object.defineProperty(aborter.signal, 'deadlineAt', { get: () => deadlineAt }) as Deadline;
    const flight: Flight = {
      // In a moment: by then the first has joined.
      verdict: Promise.resolve()
        .then(() => ask(signal))
        .finally(() => forget()),
      join(passenger) {
        passengers++;
        deadlineAt = Math.max(deadlineAt, passenger.deadlineAt);
        passenger.addEventListener('abort', () => {
          if (--passengers > 0) return;
          forget();
          aborter.abort(passenger.reason);
        });
      },
    };
    function forget(): void {
      if (flights.get(name) === flight) flights.delete(name);
    }
    return flight;
  }

  return {
    share(name, signal, ask) {
      // It would never leave again, and nothing is asked for who is not there.
      if (signal.aborted) return Promise.reject(signal.reason);
      let flight = flights.get(name);
      if (flight === undefined) {
        flight = start(name, ask);
        flights.set(name, flight);
      }
      flight.join(signal);
      return untilAborted(flight.verdict, signal);
    },
  };
}
