// Why a function gave no result, and whether to try again.

/** What a function throws to say what its failure means for the step. Any other error is permanent. */
export class Failure extends Error {
  constructor(kind, message, data) {
    super(message);
    this.name = "Failure";
    this.kind = kind;
    this.data = data;
  }
}

/** It may go well another time, so the step is tried again as its graph says: `throw retryable("...")`. */
export const retryable = (message, data) => new Failure("retryable", message, data);

/** It will not go well. */
export const permanent = (message, data) => new Failure("permanent", message, data);

/** The input was not what the function takes. */
export const invalidInput = (message, data) => new Failure("invalid-input", message, data);
