//! External capability providers: archives, processes, supervision.
