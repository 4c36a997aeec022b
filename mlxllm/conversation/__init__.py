"""Records of conversations to token ids and loss masks, and the one place that does it.

    files -> raw records -> Conversation, Text, Preference -> Example (token_ids, loss_mask), Pair
    locating   reading        formats, preference_formats       masks, preferences

A `ChatFormat` says how messages become ids: `OwnFormat` for our own models, `TemplateFormat` for a model that
came with a chat template, which is rendered in a sandbox.
"""

from mlxllm.conversation.chat_format import ChatFormat, fingerprint_of
from mlxllm.conversation.locating import RecordFiles, find_record_files
from mlxllm.conversation.masks import Example, TrainOn, Turn, check_train_on, encode_record, examples
from mlxllm.conversation.opening import read_conversations, read_preferences
from mlxllm.conversation.own_format import OWN_TEMPLATE, OwnFormat
from mlxllm.conversation.preferences import Pair, encode_preference, pairs
from mlxllm.conversation.records import Conversation, Message, Preference, Record, Text
from mlxllm.conversation.report import Report
from mlxllm.conversation.template import ChatTemplate, TemplateRefusalError
from mlxllm.conversation.template_files import load_chat_template
from mlxllm.conversation.template_format import ChatTokenizer, TemplateFormat

__all__ = [
    "OWN_TEMPLATE",
    "ChatFormat",
    "ChatTemplate",
    "ChatTokenizer",
    "Conversation",
    "Example",
    "Message",
    "OwnFormat",
    "Pair",
    "Preference",
    "Record",
    "RecordFiles",
    "Report",
    "TemplateFormat",
    "TemplateRefusalError",
    "Text",
    "TrainOn",
    "Turn",
    "check_train_on",
    "encode_preference",
    "encode_record",
    "examples",
    "find_record_files",
    "fingerprint_of",
    "load_chat_template",
    "pairs",
    "read_conversations",
    "read_preferences",
]
