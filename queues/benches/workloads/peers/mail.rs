//! An entry in the channel of an actor, for peers whose actors have channels.

use super::super::actors::Actor;

/// See the module.
pub(crate) enum Mail<A: Actor> {
    Message(A::Message),
    Visit(Box<dyn FnOnce(&mut A) + Send>),
}

impl<A: Actor> Mail<A> {
    /// Delivers it to the actor.
    pub(crate) fn open(self, actor: &mut A) {
        match self {
            Mail::Message(message) => actor.receive(message),
            Mail::Visit(visit) => visit(actor),
        }
    }
}
