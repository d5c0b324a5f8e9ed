// Failures of functions, and whether they are retried.

/** A failure that says how the step fails. Any other error is permanent. */
export class Failure extends Error {
  constructor(kind, message, data) {
    super(message);
    this.name = "Failure";
    this.kind = kind;
    this.data = data;
  }
}

/** Another attempt may succeed: the step is retried as its graph says: `throw retryable("...")`. */
export const retryable = (message, data) => new Failure("retryable", message, data);

/** Another attempt would fail, too. */
export const permanent = (message, data) => new Failure("permanent", message, data);

/** The input is not valid for the function. */
export const invalidInput = (message, data) => new Failure("invalid-input", message, data);
